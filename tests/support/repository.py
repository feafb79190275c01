"""A git repository for tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def make_repository(folder: Path) -> None:
    """Make `folder` a repository with one empty commit on the branch `main`, whatever was there of another one."""
    shutil.rmtree(folder / ".git", ignore_errors=True)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for arguments in (["init", "--quiet", "-b", "main"], ["commit", "--quiet", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)
