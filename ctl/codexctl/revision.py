"""Asks git whether it knows a name, before Codex spends minutes on one that nobody has."""

from __future__ import annotations

import subprocess

from codex_control.errors import BadInput

# git answers in milliseconds; where it hangs (a file system that is gone), Codex will find out.
_GIT_TIMEOUT_S = 5.0


def check_revision(name: str, directory: str) -> None:
    """Raise `BadInput` where git has no commit of that name in `directory`; an empty one is not looked at.

    Without git, or where it does not answer, everything passes.
    """
    if not name.strip() or name.startswith("-"):
        raise BadInput(f"{name!r} cannot be a branch, tag or commit", next_step="give a name that git knows")
    if not directory:
        return
    command = ["git", "-C", directory, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"]
    try:
        found = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return
    if found.returncode == 0:
        return
    if b"not a git repository" in found.stderr:
        raise BadInput(f"{directory} is in no git repository", next_step="go into one, or name it with --cwd")
    raise BadInput(
        f"git knows no commit {name!r} in {directory}", next_step="look at `git branch --all` and `git log --oneline`"
    )
