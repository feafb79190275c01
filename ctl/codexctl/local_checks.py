"""The checks of `codexctl doctor` that need no service."""

from __future__ import annotations

from pathlib import Path
from shutil import which

from codex_control.codex_wheel import codex_of_wheel
from codex_control.errors import CodexError
from codex_control.paths import check_private_dir
from codex_control.service.doctor_report import Finding

from codexctl.service import installed_agent, installed_unit, start_command, supervisor_program
from codexctl.session import Session


def local_checks(session: Session) -> list[Finding]:
    """What is between this shell and the service."""
    return [_program(session), _codex(session), _unit(session), _runtime_dir(session)]


def _program(session: Session) -> Finding:
    try:
        return Finding("codex-supervisor", "ok", supervisor_program(session.environ), "")
    except CodexError as error:
        return Finding("codex-supervisor", "error", error.why, error.next_step)


def _codex(session: Session) -> Finding:
    found = which("codex", path=session.environ.get("PATH")) or codex_of_wheel()
    if found:
        return Finding("codex", "ok", str(found), "")
    return Finding(
        "codex", "warning", "not on PATH; the service may find it elsewhere", "install Codex, or set codex.binary"
    )


def _unit(session: Session) -> Finding:
    installed = installed_unit(session.environ) or installed_agent(session.environ)
    if installed:
        return Finding("service manager", "ok", str(installed), "")
    return Finding(
        "service manager",
        "warning",
        "the service is not installed there (or the manager does not run): nothing starts it again after a crash",
        "codex-supervisor install",
    )


def _runtime_dir(session: Session) -> Finding:
    folder: Path = session.paths.runtime_dir
    try:
        check_private_dir(folder)
    except FileNotFoundError:
        return Finding(
            "control directory",
            "warning",
            f"{folder} does not exist",
            f"{start_command(session.environ)} makes it",
        )
    except CodexError as error:
        return Finding("control directory", "error", str(error), error.next_step)
    return Finding("control directory", "ok", str(folder), "")
