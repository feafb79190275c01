"""Plans: shown, refused, carried out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from codex_control.errors import ServiceUnavailable, UnsafePath, WrongState
from codex_control.service.own_file import blank_seal, owner_of, sealed
from codex_control.service.plan import (
    MakeDir,
    Plan,
    RemoveFile,
    Run,
    WriteFile,
    carry_out,
    describe,
    run_command,
)

TEXT = sealed(f"# {blank_seal('codex-supervisor')}\ntext\n")


class Recorder:
    """Takes commands in place of a service manager; `fails` names the one that fails."""

    def __init__(self, fails: str = "") -> None:
        self.ran: list[str] = []
        self.fails = fails

    def __call__(self, argv: Sequence[str]) -> None:
        self.ran.append(" ".join(argv))
        if argv[0] == self.fails:
            raise ServiceUnavailable("it failed")


def test_dry_run_shows_every_step_and_does_none(tmp_path: Path) -> None:
    steps = (
        MakeDir(tmp_path / "d"),
        WriteFile(tmp_path / "f", TEXT, 0o600),
        RemoveFile(tmp_path / "g"),
        Run(("m", "a b")),
    )
    assert describe(Plan(steps)) == (
        f"# make {tmp_path}/d (mode 0700)\n\n# write {tmp_path}/f (mode 0600):\n{TEXT}\n"
        f"# remove {tmp_path}/g\n\n# run: m 'a b'\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_steps_are_done_in_their_order(tmp_path: Path) -> None:
    old, new, run = tmp_path / "old", tmp_path / "new", Recorder()
    old.write_text(TEXT)
    carry_out(Plan((MakeDir(tmp_path / "d"), WriteFile(new, TEXT), Run(("a",)), RemoveFile(old), Run(("b",)))), run=run)
    assert run.ran == ["a", "b"]
    assert new.read_text() == TEXT
    assert not old.exists()
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("content", ["somebody else's", TEXT + "edited"])
@pytest.mark.parametrize("remove", [False, True])
def test_other_peoples_files_stop_the_plan_before_its_first_step(tmp_path: Path, content: str, remove: bool) -> None:
    file, run = tmp_path / "file", Recorder()
    file.write_text(content)
    plan = Plan((Run(("a",)), RemoveFile(file) if remove else WriteFile(file, TEXT)))
    with pytest.raises(WrongState, match="--force"):
        carry_out(plan, run=run)
    assert run.ran == []
    assert file.read_text() == content
    carry_out(plan, force=True, run=run)
    assert owner_of(file).name == ("NOBODY" if remove else "OURS")


def test_a_failure_ends_the_plan_unless_it_may_fail(tmp_path: Path) -> None:
    run = Recorder(fails="bad")
    carry_out(Plan((Run(("bad",), may_fail=True), Run(("b",)))), run=run)
    with pytest.raises(ServiceUnavailable):
        carry_out(Plan((Run(("bad",)), Run(("never",)))), run=run)
    assert run.ran == ["bad", "b", "bad"]


def test_a_command_that_fails_says_what_it_said() -> None:
    assert run_command((sys.executable, "-c", "print('shown')")) == "shown\n"
    with pytest.raises(ServiceUnavailable, match="no such unit"):
        run_command((sys.executable, "-c", "import sys; sys.exit('no such unit')"))
    with pytest.raises(ServiceUnavailable, match="exit code 3"):
        run_command((sys.executable, "-c", "import sys; sys.exit(3)"))
    with pytest.raises(ServiceUnavailable, match="not on PATH"):
        run_command(("no-such-manager",))


def test_an_unwritable_directory_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnsafePath, match="cannot be changed: File exists"):
        carry_out(Plan((WriteFile(tmp_path / "file" / "unit", TEXT),)), force=True)
