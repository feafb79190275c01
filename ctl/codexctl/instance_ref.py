"""Which instance a command means."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from codex_control.errors import BadInput

if TYPE_CHECKING:
    from codex_control.v1.instances_pb2 import InstanceRef

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class Named:
    """An instance as the user named it; `kind` is the field of `InstanceRef` that is set."""

    kind: Literal["id", "workspace", "claude_session"]
    value: str

    def ref(self) -> InstanceRef:
        """The message."""
        from codex_control.v1.instances_pb2 import InstanceRef

        match self.kind:
            case "id":
                return InstanceRef(id=self.value)
            case "workspace":
                return InstanceRef(workspace=self.value)
            case "claude_session":
                return InstanceRef(claude_session=self.value)


def resolve_instance(given: str | None, environ: Mapping[str, str]) -> Named:
    """The instance that is meant: `given`, else `CODEX_INSTANCE`, else the Claude Code session, else the git root.

    `given` and `CODEX_INSTANCE` are an id, or a workspace's path where they hold a slash. Raises `BadInput` for what
    cannot be an id and for a working directory that is gone.
    """
    if given is not None:
        return named(given, "-i")
    if environ.get("CODEX_INSTANCE"):
        return named(environ["CODEX_INSTANCE"], "CODEX_INSTANCE")
    if environ.get("CLAUDE_CODE_SESSION_ID"):
        return Named("claude_session", environ["CLAUDE_CODE_SESSION_ID"])
    return Named("workspace", str(git_root(working_directory())))


def named(value: str, origin: str) -> Named:
    """The instance by the id or path `value`; `origin` says where that came from, for the error."""
    if "/" in value:
        # Without following links: the folder's own name becomes the instance's.
        return Named("workspace", os.path.normpath(working_directory() / Path(value).expanduser()))
    if not _ID.fullmatch(value):
        raise BadInput(
            what=f"'{value}' from {origin} is no instance",
            why="an id has 1 to 64 letters, digits, dots, underscores and hyphens",
            next_step="`codexctl status` lists the instances",
        )
    return Named("id", value)


def working_directory() -> Path:
    """The working directory; raises `BadInput` where it was deleted."""
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise BadInput(
            what="the working directory does not exist any more", next_step="cd to a directory that exists, or use -i"
        ) from error


def git_root(start: Path) -> Path:
    """The nearest directory at or above `start` that is a repository of ours; `start` where none is.

    As git has it, `.git` is a file in a worktree and holds `HEAD` elsewhere, and one that another user put above us
    counts for nothing (CVE-2022-24765).
    """
    return next((directory for directory in (start, *start.parents) if _is_our_repository(directory)), start)


def _is_our_repository(directory: Path) -> bool:
    marker = directory / ".git"
    try:
        return marker.stat().st_uid == os.geteuid() and (marker.is_file() or (marker / "HEAD").exists())
    except OSError:
        return False
