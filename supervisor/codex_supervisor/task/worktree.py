"""A git worktree for a task: a directory and a branch of its own, so that it disturbs nobody.

The directories are ours (`<state>/worktrees/<id>`), so that the repository stays clean; the branch is `codex/<id>`. No
hook of the repository runs, no shell is used, and everything has a time limit. What holds work is never removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from codex_control.errors import BadInput, CodexError, NotFound, TimedOut, WrongState
from codex_control.paths import make_private_dir

BRANCH_PREFIX = "codex/"

# A checkout of a large repository takes its time; looking at one does not.
_ADD_TIMEOUT_S = 600.0
_LOOK_TIMEOUT_S = 60.0

_MAX_OUTPUT_BYTES = 64 * 1024

# Nothing that a repository brings along is run: neither hooks nor a watcher of its files.
_OPTIONS = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "advice.detachedHead=false")


class GitFailed(CodexError):
    """git did not do what it was told."""

    reason = "GIT_FAILED"
    status = "FAILED_PRECONDITION"


@dataclass(frozen=True, slots=True)
class Worktree:
    """A task's worktree. `cwd` is the task's directory inside it."""

    branch: str
    directory: Path
    cwd: Path
    left_out: int = 0
    """How many files of the repository it does not have as they are there: changed, or not added. 0 where it was made
    before."""


async def make_worktree(
    folder: Path, task_id: str, cwd: Path, environ: Mapping[str, str], *, known: bool = False
) -> Worktree:
    """Return the worktree of a task below `folder`, made from what `cwd`'s repository has checked out.

    `known`: an earlier attempt made it, so it is found again, with all that is in it. Raises `BadInput` where `cwd`
    is in no git repository, or in one without a commit, `NotFound` where git is missing or the directory is not in the
    commit, `WrongState` where branch or directory are taken or gone, `GitFailed`, `TimedOut`.
    """
    top, below = await _toplevel(cwd, environ)
    branch = f"{BRANCH_PREFIX}{task_id}"
    directory = make_private_dir(folder) / task_id
    there = await asyncio.to_thread(directory.exists)
    if known:
        if not there or await _common_dir(directory, environ) != await _common_dir(top, environ):
            raise WrongState(
                what=f"the worktree {directory} is gone",
                why="an earlier attempt of the task worked in it",
                next_step="submit a new task",
            )
    else:
        # A start that was cut short made it; or an earlier task of this id left its work there.
        if there and not await remove_worktree(directory, environ):
            raise WrongState(
                what=f"the directory {directory} is there already",
                why="an earlier task of this id left work in it",
                next_step=f"see what it is worth, then `git worktree remove {directory}`; or choose another id",
            )
        await _add(top, directory, branch, environ)
    inside = directory / below
    if not await asyncio.to_thread(inside.is_dir):
        if not known:
            await remove_worktree(directory, environ)
        raise NotFound(
            what=f"the worktree has no directory {below}",
            why="it is not part of the last commit",
            next_step="commit it, or submit the task from another directory",
        )
    return Worktree(branch, directory, inside, 0 if known else await _changes(top, environ))


def check_repository(cwd: Path) -> None:
    """Raise `BadInput` where the directory `cwd` is seen to be in no git repository. Runs nothing.

    What cannot be looked at may be one: git says so when the task starts.
    """
    with contextlib.suppress(OSError):
        # Where `.git` is a file (of worktrees and submodules), nothing below it can be looked at either: git judges it.
        # A bare repository has HEAD and objects in its place.
        real = cwd.resolve(strict=True)
        for folder in (real, *real.parents):
            if _is_there(folder / ".git" / "HEAD") or (_is_there(folder / "HEAD") and _is_there(folder / "objects")):
                return
        raise _no_repository(cwd)


def _is_there(path: Path) -> bool:
    """Raises `OSError` where that cannot be seen; which of them `Path.exists` raises differs among Pythons."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _no_repository(cwd: Path, why: str = "") -> BadInput:
    return BadInput(
        what=f"{cwd} is in no git repository",
        why=why,
        next_step="submit the task without --worktree, or run `git init` and commit there",
    )


async def _toplevel(cwd: Path, environ: Mapping[str, str]) -> tuple[Path, str]:
    """Return the top of the repository, and where `cwd` is below it."""
    try:
        top = await _git(cwd, environ, "rev-parse", "--show-toplevel")
    except GitFailed as error:
        raise _no_repository(cwd, error.why) from error
    try:
        await _git(cwd, environ, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except GitFailed as error:
        raise BadInput(
            what=f"the repository {top.strip()} has no commit", next_step="commit something first"
        ) from error
    prefix = await _git(cwd, environ, "rev-parse", "--show-prefix")
    return Path(top.removesuffix("\n")), prefix.removesuffix("\n").rstrip("/")


async def _common_dir(directory: Path, environ: Mapping[str, str]) -> Path:
    written = (await _git(directory, environ, "rev-parse", "--git-common-dir")).rstrip("\n")
    return await asyncio.to_thread((directory / written).resolve)


async def _add(top: Path, directory: Path, branch: str, environ: Mapping[str, str]) -> None:
    # A directory that a crash left half way is known to git and not there.
    await _git(top, environ, "worktree", "prune")
    if await _has_branch(top, branch, environ):
        # An earlier task of this id, whose work is still wanted: what it has is not overwritten.
        raise WrongState(
            what=f"the repository has a branch {branch} already",
            why="an earlier task of this id made it",
            next_step=f"delete it with `git branch -D {branch}`, or choose another id",
        )
    try:
        await _git(
            top, environ, "worktree", "add", "--quiet", "-b", branch, str(directory), "HEAD", timeout_s=_ADD_TIMEOUT_S
        )
    except BaseException:
        # Nothing was done in it yet.
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        with contextlib.suppress(CodexError):
            await _git(top, environ, "worktree", "prune")
            await _git(top, environ, "branch", "--quiet", "-D", branch)
        raise


async def _changes(top: Path, environ: Mapping[str, str]) -> int:
    try:
        return (await _git(top, environ, "status", "--porcelain")).count("\n")
    except CodexError:
        return 0  # a repository so large that git takes long; it is said for people only


async def _has_branch(top: Path, branch: str, environ: Mapping[str, str]) -> bool:
    try:
        await _git(top, environ, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")
    except GitFailed:
        return False
    return True


async def remove_worktree(directory: Path, environ: Mapping[str, str]) -> bool:
    """Remove a worktree that holds nothing new, with its branch; return whether it is gone.

    It stays where a file in it is changed or untracked, ignored ones too, where its branch has a commit that no other
    branch has, or where git cannot say.
    """
    branch = f"{BRANCH_PREFIX}{directory.name}"
    try:
        if await _git(directory, environ, "status", "--porcelain", "--ignored", "--untracked-files=all"):
            return False
        holders = await _git(
            directory, environ, "for-each-ref", "--contains=HEAD", "--format=%(refname)", "refs/heads", "refs/remotes"
        )
        if not [name for name in holders.split() if name != f"refs/heads/{branch}"]:
            return False
        repository = await _common_dir(directory, environ)
        own = await _has_branch(repository, branch, environ)
        if own and await _git(
            repository, environ, "rev-list", "--max-count=1", branch, "--not", *_others(holders, branch)
        ):
            return False
        await _git(repository, environ, "worktree", "remove", str(directory))
        if own:
            await _git(repository, environ, "branch", "--quiet", "-D", branch)
    except (CodexError, OSError):
        return False
    return True


def _others(holders: str, branch: str) -> list[str]:
    return [name for name in holders.split() if name != f"refs/heads/{branch}"]


async def _git(directory: Path, environ: Mapping[str, str], *arguments: str, timeout_s: float = _LOOK_TIMEOUT_S) -> str:
    """Run git in `directory` and return what it prints."""
    # What the caller's own git told its hooks is not meant for us.
    environment = {name: value for name, value in environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        process = await asyncio.create_subprocess_exec(
            "git",
            *_OPTIONS,
            *arguments,
            cwd=directory,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        if os.path.isdir(directory):  # noqa: ASYNC240, PTH112 (git is missing, or this is: an error in any case)
            raise NotFound(what="git was not found", next_step="install git") from error
        raise NotFound(what=f"there is no directory {directory}") from error
    except OSError as error:
        raise GitFailed(what="git could not be started", why=str(error)) from error
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    except TimeoutError as error:
        raise TimedOut(what=f"`git {arguments[0]}` did not end within {timeout_s:.0f} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            await process.wait()
    if process.returncode:
        words = err[:_MAX_OUTPUT_BYTES].decode(errors="replace").strip()
        raise GitFailed(
            what=f"`git {arguments[0]}` failed", why=words.removeprefix("fatal: ") or f"exit code {process.returncode}"
        )
    return out.decode(errors="surrogateescape")
