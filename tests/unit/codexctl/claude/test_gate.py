"""The review gate's verdicts, and what it takes for a change."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from codex_control.errors import BadConfig, BadInput
from codex_control.paths import Paths
from codex_control.v1.outcome_pb2 import OUTCOME_COMPLETED, OUTCOME_FAILED
from codex_control.v1.turns_pb2 import Turn
from codexctl.claude.gate import CouldNotRun, Found, Passed, outcome_of
from codexctl.claude.gate_changes import fingerprint_of_changes, note_start, started_at
from codexctl.claude.gate_settings import GateSettings, gate_file, load_gate


def answered(**said: object) -> Turn:
    return Turn(id="t1", instance="i1", outcome=OUTCOME_COMPLETED, answer=json.dumps(said))


def test_verdicts() -> None:
    finding = {"place": "a.py:1", "problem": "It\ndivides by zero."}
    assert outcome_of(answered(verdict="pass", findings=[])) == Passed("instance i1 · turn t1")
    found = outcome_of(answered(verdict="findings", findings=[finding]))
    assert isinstance(found, Found)
    assert "turn t1" in found.text
    assert "- a.py:1: It divides by zero." in found.text


@pytest.mark.parametrize(
    "turn",
    [
        answered(verdict="findings", findings=[]),
        answered(verdict="pass", findings=[{"place": "a", "problem": "b"}]),
        answered(verdict="maybe", findings=[]),
        answered(),
        Turn(outcome=OUTCOME_COMPLETED, answer="All is well!"),
        Turn(outcome=OUTCOME_FAILED, answer='{"verdict": "pass", "findings": []}', error="The quota is used up."),
    ],
)
def test_what_is_no_verdict_could_not_run(turn: Turn) -> None:
    assert isinstance(outcome_of(turn), CouldNotRun)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_changes_have_fingerprints(repository: Path) -> None:
    assert fingerprint_of_changes(repository) == ""
    file = repository / "a b.txt"
    file.write_text("1")
    untracked = fingerprint_of_changes(repository)
    assert untracked
    file.write_text("12")
    assert fingerprint_of_changes(repository) != untracked
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "x")
    assert fingerprint_of_changes(repository) == ""
    file.write_text("13")
    changed = fingerprint_of_changes(repository)
    file.write_text("14")
    assert fingerprint_of_changes(repository) not in (changed, "")
    file.write_text("13")
    assert fingerprint_of_changes(repository) == changed


def test_a_repository_starts_no_program(repository: Path) -> None:
    witness = repository / "ran"
    for key in ("core.fsmonitor", "diff.external"):
        git(repository, "config", key, f"touch {witness}")
    (repository / "a").write_text("1")
    git(repository, "add", ".")
    witness.unlink(missing_ok=True)  # git add may have run it
    assert fingerprint_of_changes(repository)
    assert not witness.exists()


def head(repository: Path) -> str:
    command = ["git", "-C", str(repository), "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(repository: Path, name: str, text: str) -> str:
    (repository / name).write_text(text)
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "x")
    return head(repository)


def test_what_is_committed_since_the_start_has_a_fingerprint_too(repository: Path) -> None:
    base = commit(repository, "a", "1")
    assert fingerprint_of_changes(repository, base) == ""
    (repository / "b").write_text("2")
    before = fingerprint_of_changes(repository, base)
    commit(repository, "b", "2")
    assert fingerprint_of_changes(repository) == ""
    assert fingerprint_of_changes(repository, base) == before != "", "a commit changes nothing in what was reviewed"
    (repository / "a").chmod(0o755)
    changed = fingerprint_of_changes(repository, base)
    assert changed != before
    git(repository, "rm", "--quiet", "--force", "a")
    assert fingerprint_of_changes(repository, base) not in (changed, before)


def test_the_start_of_a_session_is_remembered_as_long_as_the_history_holds_it(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    paths = Paths.from_environment({"HOME": str(tmp_path_factory.mktemp("home"))})
    first = commit(repository, "a", "1")
    note_start(paths, "s", repository)
    commit(repository, "a", "2")
    note_start(paths, "s", repository)
    assert started_at(paths, "s", repository) == first, "a session that is resumed keeps its beginning"
    assert started_at(paths, "another", repository) == ""
    git(repository, "checkout", "--quiet", "--orphan", "elsewhere")
    commit(repository, "a", "3")
    assert started_at(paths, "s", repository) == ""
    (file,) = (paths.state_dir / "review-gate").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text('{"root": "/", "commit": "--output=/tmp/x"}')
    assert started_at(paths, "s", repository) == ""


def test_where_there_is_no_repository_there_is_no_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    paths = Paths.from_environment({"HOME": str(tmp_path)})
    note_start(paths, "s", tmp_path)
    assert started_at(paths, "s", tmp_path) == ""


def test_only_the_latest_starts_are_kept(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    paths = Paths.from_environment({"HOME": str(tmp_path_factory.mktemp("home"))})
    base = commit(repository, "a", "1")
    note_start(paths, "first", repository)
    folder = paths.state_dir / "review-gate"
    (old,) = folder.iterdir()
    os.utime(old, (1, 1))
    for number in range(399):
        (folder / str(number)).touch()
    note_start(paths, "last", repository)
    assert len(list(folder.iterdir())) == 400
    assert (started_at(paths, "first", repository), started_at(paths, "last", repository)) == ("", base)


def test_no_repository_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(BadInput, match="git cannot tell what changed"):
        fingerprint_of_changes(tmp_path)


def test_settings(tmp_path: Path) -> None:
    paths = Paths.from_environment({"HOME": str(tmp_path)})
    assert load_gate(paths) is None
    gate_file(paths).parent.mkdir(parents=True)
    gate_file(paths).write_text('{"rounds": 2}')
    assert load_gate(paths) == GateSettings(rounds=2)
    gate_file(paths).write_text('{"round": 2}')
    with pytest.raises(BadConfig, match="round"):
        load_gate(paths)
