"""Which instance a command means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from codex_control.errors import BadInput
from codexctl.instance_ref import Named, git_root, resolve_instance

EVERYTHING = {"CODEX_INSTANCE": "env", "CLAUDE_CODE_SESSION_ID": "session-1"}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository; the working directory is a folder deep in it."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").touch()
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    return tmp_path


def test_the_order_is_option_variable_session_git_root(repository: Path) -> None:
    assert resolve_instance("opt", EVERYTHING) == Named("id", "opt")
    assert resolve_instance(None, EVERYTHING) == Named("id", "env")
    assert resolve_instance(None, {"CLAUDE_CODE_SESSION_ID": "s"}) == Named("claude_session", "s")
    assert resolve_instance(None, {"CODEX_INSTANCE": ""}) == Named("workspace", str(repository))


def test_a_worktree_has_a_file_for_a_git_directory(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /elsewhere")
    (tmp_path / "sub").mkdir()
    assert git_root(tmp_path / "sub") == tmp_path


def test_outside_of_a_repository_it_is_the_directory_itself(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()  # no repository: without HEAD
    (tmp_path / "sub").mkdir()
    assert git_root(tmp_path / "sub") == tmp_path / "sub"


def test_a_repository_of_another_user_is_none_of_ours(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    (tmp_path / ".git").write_text("gitdir: /elsewhere")
    (tmp_path / "sub").mkdir()
    os.chown(tmp_path / ".git", 12345, 12345)
    assert git_root(tmp_path / "sub") == tmp_path / "sub"


def test_a_path_is_a_workspace(repository: Path) -> None:
    assert resolve_instance("./x/..", {}) == Named("workspace", str(repository / "a" / "b"))
    assert resolve_instance("/srv/project/", {}) == Named("workspace", "/srv/project")


@pytest.mark.parametrize("wrong", ["", "with space", "ü", "x" * 65, "semi;colon", "new\nline"])
def test_what_cannot_be_an_id_is_refused(wrong: str) -> None:
    with pytest.raises(BadInput):
        resolve_instance(wrong, {})


def test_a_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(BadInput, match="does not exist any more"):
        resolve_instance(None, {})


@pytest.mark.parametrize("kind", ["id", "workspace", "claude_session"])
def test_the_message_has_exactly_that_field(kind: str) -> None:
    ref = Named(kind, "/v").ref()  # type: ignore[arg-type] # one of the three
    assert ref.WhichOneof("ref") == kind
    assert getattr(ref, kind) == "/v"
