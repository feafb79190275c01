"""What installing or uninstalling does, as data that can be shown (`--dry-run`) or carried out."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from codex_control.errors import CodexError, ServiceUnavailable, UnsafePath, WrongState
from codex_control.paths import make_private_dir
from codex_control.service.own_file import Owner, owner_of, write_whole

# systemctl waits for a start (TimeoutStartSec of the unit) or a stop (TimeoutStopSec); this is longer than both.
COMMAND_TIMEOUT_S = 150.0


@dataclass(frozen=True)
class WriteFile:
    """Write a sealed file of ours."""

    path: Path
    text: str
    mode: int = 0o644


@dataclass(frozen=True)
class MakeDir:
    """Make a private directory of ours."""

    path: Path


@dataclass(frozen=True)
class RemoveFile:
    """Remove a sealed file of ours, if it is there."""

    path: Path


@dataclass(frozen=True)
class Run:
    """Run a command of the service manager."""

    argv: tuple[str, ...]
    may_fail: bool = False
    """Where failure means that there was nothing to do."""


Step = MakeDir | WriteFile | RemoveFile | Run


@dataclass(frozen=True)
class Plan:
    """Steps in their order, and what a person should know afterwards."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()


def describe(plan: Plan) -> str:
    """Return what `--dry-run` prints: the commands, and the files with their text."""
    parts = []
    for step in plan.steps:
        match step:
            case WriteFile(path, text, mode):
                parts.append(f"# write {path} (mode {mode:04o}):\n{text}")
            case MakeDir(path):
                parts.append(f"# make {path} (mode 0700)\n")
            case RemoveFile(path):
                parts.append(f"# remove {path}\n")
            case Run(argv):
                parts.append(f"# run: {shlex.join(argv)}\n")
            case _:
                assert_never(step)
    return "\n".join(parts)


def run_command(argv: Sequence[str]) -> str:
    """Run a command of the service manager and return what it printed. Raises `ServiceUnavailable`."""
    try:
        ended = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=COMMAND_TIMEOUT_S
        )
    except FileNotFoundError as error:
        raise ServiceUnavailable(
            f"{argv[0]} is not on PATH", next_step="`serve` runs without a service manager"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ServiceUnavailable(f"{shlex.join(argv)} took more than {COMMAND_TIMEOUT_S:.0f} s") from error
    if ended.returncode != 0:
        said = (ended.stderr.strip() or ended.stdout.strip()).splitlines()
        raise ServiceUnavailable(
            f"{shlex.join(argv)} failed", why=said[0].rstrip(".") if said else f"exit code {ended.returncode}"
        )
    return ended.stdout


def carry_out(plan: Plan, *, force: bool = False, run: Callable[[Sequence[str]], object] = run_command) -> None:
    """Do all steps of `plan`.

    Before the first one every file is looked at: one that is not ours, or was edited, raises `WrongState` and nothing
    is changed, unless `force` is given. Raises `UnsafePath` where a file cannot be written, and what `run` raises.
    """
    if not force:
        for step in plan.steps:
            if isinstance(step, WriteFile | RemoveFile):
                _check_owner(step.path)
    for step in plan.steps:
        match step:
            case WriteFile(path, text, mode):
                try:
                    write_whole(path, text, mode)
                except OSError as error:
                    raise _not_writable(path, error) from error
            case MakeDir(path):
                make_private_dir(path)
            case RemoveFile(path):
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    raise _not_writable(path, error) from error
            case Run(argv, may_fail):
                try:
                    run(argv)
                except CodexError:
                    if not may_fail:
                        raise
            case _:
                assert_never(step)


def _check_owner(path: Path) -> None:
    match owner_of(path):
        case Owner.NOBODY | Owner.OURS:
            pass
        case Owner.EDITED:
            raise WrongState(
                f"{path} was edited by hand",
                why="installing or uninstalling would lose that",
                next_step=f"move the edit to a drop-in (systemctl --user edit {path.stem}), or use --force",
            )
        case Owner.FOREIGN:
            raise WrongState(
                f"{path} is not ours",
                why="no install of ours wrote it",
                next_step="move it away, or use --force to replace it",
            )


def _not_writable(path: Path, error: OSError) -> UnsafePath:
    return UnsafePath(
        f"{path} cannot be changed", why=error.strerror or str(error), next_step=f"make {path.parent} writable"
    )
