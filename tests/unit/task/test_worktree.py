"""Worktrees of tasks, with the real git."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from codex_control.errors import BadInput, NotFound, WrongState
from codex_supervisor.task.worktree import check_repository, make_worktree, remove_worktree

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="no git here")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "GIT_DIR": "/nowhere",
        "GIT_CONFIG_NOSYSTEM": "1",
    }


def git(directory: Path, *arguments: str) -> str:
    who = ("-c", "user.name=n", "-c", "user.email=e@example.invalid")
    environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *who, *arguments], cwd=directory, env=environ, check=True, capture_output=True)
    return done.stdout.decode()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    made = tmp_path / "repo"
    (made / "sub").mkdir(parents=True)
    git(made, "init", "-q", "-b", "main")
    (made / "sub/file").write_text("one\n")
    git(made, "add", ".")
    git(made, "commit", "-q", "-m", "first")
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "worktrees"


async def test_a_task_gets_a_tree_and_a_branch(repository: Path, folder: Path, environ: dict[str, str]) -> None:
    hook = repository / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {repository}/hook-ran\n")
    hook.chmod(0o755)
    made = await make_worktree(folder, "T-1", repository / "sub", environ)
    assert (made.branch, made.directory, made.cwd) == ("codex/T-1", folder / "T-1", folder / "T-1/sub")
    assert (made.cwd / "file").read_text() == "one\n"
    assert git(made.directory, "branch", "--show-current") == "codex/T-1\n"
    assert git(repository, "status", "--porcelain") == "", "the repository stays clean, and no hook ran"
    (made.cwd / "file").write_text("two\n")
    assert (await make_worktree(folder, "T-1", repository / "sub", environ, known=True)) == made
    assert (made.cwd / "file").read_text() == "two\n", "the next attempt goes on in it"


async def test_what_is_not_committed_is_counted(repository: Path, folder: Path, environ: dict[str, str]) -> None:
    assert (await make_worktree(folder, "T-1", repository, environ)).left_out == 0
    (repository / "sub/file").write_text("two\n")
    (repository / "new").touch()
    made = await make_worktree(folder, "T-2", repository / "sub", environ)
    assert (made.left_out, (made.cwd / "file").read_text()) == (2, "one\n")


async def test_a_directory_that_is_not_committed_leaves_nothing(
    repository: Path, folder: Path, environ: dict[str, str]
) -> None:
    (repository / "later").mkdir()
    with pytest.raises(NotFound, match="no directory later"):
        await make_worktree(folder, "T-1", repository / "later", environ)
    assert git(repository, "branch", "--list", "codex/*") == ""
    assert git(repository, "worktree", "list").count("\n") == 1


async def test_one_without_work_is_removed(repository: Path, folder: Path, environ: dict[str, str]) -> None:
    made = await make_worktree(folder, "T-1", repository, environ)
    assert await remove_worktree(made.directory, environ)
    assert not made.directory.exists()
    assert git(repository, "branch", "--list", "codex/*") == ""
    assert git(repository, "worktree", "list").count("\n") == 1


@pytest.mark.parametrize("work", ["changed", "untracked", "ignored", "committed", "other branch"])
async def test_one_with_work_is_kept(repository: Path, folder: Path, environ: dict[str, str], work: str) -> None:
    made = await make_worktree(folder, "T-1", repository, environ)
    match work:
        case "changed":
            (made.directory / "sub/file").write_text("two\n")
        case "untracked":
            (made.directory / "new").touch()
        case "ignored":
            (repository / ".git/info/exclude").write_text("new\n")
            (made.directory / "new").touch()
        case _:
            git(made.directory, "commit", "-q", "--allow-empty", "-m", "work")
            if work == "other branch":
                git(made.directory, "checkout", "-q", "--detach", "main")
    assert not await remove_worktree(made.directory, environ)
    assert made.directory.exists()
    assert git(repository, "branch", "--list", "codex/*").strip(" +*\n") == "codex/T-1"


async def test_one_whose_commits_were_merged_is_removed(
    repository: Path, folder: Path, environ: dict[str, str]
) -> None:
    made = await make_worktree(folder, "T-1", repository, environ)
    git(made.directory, "commit", "-q", "--allow-empty", "-m", "work")
    git(repository, "merge", "-q", "--ff-only", "codex/T-1")
    assert await remove_worktree(made.directory, environ)
    assert git(repository, "log", "--format=%s").splitlines() == ["work", "first"]


async def test_a_start_that_was_cut_short_is_made_good(repository: Path, folder: Path, environ: dict[str, str]) -> None:
    made = await make_worktree(folder, "T-1", repository, environ)
    assert await make_worktree(folder, "T-1", repository, environ) == made
    shutil.rmtree(made.directory)
    with pytest.raises(WrongState, match="branch codex/T-1 already"):
        await make_worktree(folder, "T-1", repository, environ)


async def test_the_work_of_an_earlier_task_of_the_same_id_is_not_touched(
    repository: Path, folder: Path, environ: dict[str, str]
) -> None:
    made = await make_worktree(folder, "T-1", repository, environ)
    (made.directory / "work").write_text("precious")
    with pytest.raises(WrongState, match="there already"):
        await make_worktree(folder, "T-1", repository, environ)
    assert (made.directory / "work").read_text() == "precious"


async def test_one_that_is_gone_is_said_to_be(repository: Path, folder: Path, environ: dict[str, str]) -> None:
    with pytest.raises(WrongState, match="is gone"):
        await make_worktree(folder, "T-1", repository, environ, known=True)


async def test_no_repository(tmp_path: Path, folder: Path, environ: dict[str, str]) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    environ["GIT_CEILING_DIRECTORIES"] = str(tmp_path)
    git(plain, "init", "-q")
    with pytest.raises(BadInput, match="has no commit"):
        await make_worktree(folder, "T-1", plain, environ)
    shutil.rmtree(plain / ".git")
    (plain / ".git").write_text("gitdir: /nowhere\n")
    with pytest.raises(BadInput, match="is in no git repository"):
        await make_worktree(folder, "T-1", plain, environ)
    with pytest.raises(NotFound, match="no directory"):
        await make_worktree(folder, "T-1", tmp_path / "gone", environ)


async def test_a_directory_that_was_never_committed(repository: Path, folder: Path, environ: dict[str, str]) -> None:
    (repository / "new").mkdir()
    with pytest.raises(NotFound, match="not part of the last commit"):
        await make_worktree(folder, "T-1", repository / "new", environ)


async def test_without_git(repository: Path, folder: Path, environ: dict[str, str]) -> None:
    with pytest.raises(NotFound, match="git was not found"):
        await make_worktree(folder, "T-1", repository, {**environ, "PATH": "/nowhere"})


def test_a_directory_that_is_seen_to_be_in_no_repository_is_refused_at_once(repository: Path, tmp_path: Path) -> None:
    for inside in (repository, repository / "sub"):
        check_repository(inside)
    git(repository, "worktree", "add", "-q", str(tmp_path / "tree"))
    check_repository(tmp_path / "tree")
    (tmp_path / "link").symlink_to(repository / "sub")
    check_repository(tmp_path / "link")
    git(tmp_path, "init", "-q", "--bare", "bare")
    check_repository(tmp_path / "bare")
    check_repository(tmp_path / "not there, which others tell")
    (tmp_path / "plain/.git").mkdir(parents=True)  # an empty one makes no repository for git either
    with pytest.raises(BadInput, match="is in no git repository") as refused:
        check_repository(tmp_path / "plain")
    assert "git init" in refused.value.next_step
