"""systemd user units: how their texts are written, and the plans that install and remove them.

Escaping follows systemd.syntax(7), systemd.service(5) "Command lines" and systemd.unit(5) "Specifiers".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codex_control.errors import CodexError, ServiceUnavailable
from codex_control.service.plan import Plan, RemoveFile, Run, Step, WriteFile, run_command

# Since systemd 254 OnFailure= fires at each automatic restart unless RestartMode=direct is set
# (https://github.com/systemd/systemd/issues/33710); older versions do not know the key.
RESTART_MODE_VERSION = 254

_SYSTEMCTL = ("systemctl", "--user")


def filled(template: str, values: Mapping[str, str], systemd_version: int) -> str:
    """Return a unit's text: each `@NAME@` of `template` is replaced by its value.

    `@RESTART_MODE@` becomes what keeps `OnFailure=` for failures that are final, on every version.
    """
    restart_mode = "RestartMode=direct" if systemd_version >= RESTART_MODE_VERSION else ""
    text = re.sub(r"@([A-Z_]+)@", lambda place: {"RESTART_MODE": restart_mode, **values}[place[1]], template)
    return re.sub(r"\n{3,}", "\n\n", text)


def environment_lines(environment: Mapping[str, str]) -> str:
    """Return the lines that set environment variables."""
    return "\n".join(environment_line(name, value) for name, value in environment.items())


def quoted(text: str) -> str:
    """Return `text` as one word that systemd reads back as it is: quotes, backslashes and specifiers escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def command_line(argv: Sequence[str]) -> str:
    """Return `argv` as the value of an Exec…= setting. Its first word must be an absolute path."""
    program, *arguments = argv
    if set(program) & set("\"'\\"):
        # systemd takes no such program name ("contains special characters"), but any argument.
        program, arguments = "/bin/sh", ["-c", 'exec "$0" "$@"', program, *arguments]
    # A dollar sign begins a variable in arguments, and means itself in the program's name.
    return " ".join([quoted(program), *(quoted(argument).replace("$", "$$") for argument in arguments)])


def environment_line(name: str, value: str) -> str:
    """Return the line that sets an environment variable; a dollar sign means itself there."""
    return f"Environment={quoted(f'{name}={value}')}"


def unit_dir(environ: Mapping[str, str]) -> Path:
    """Return where a user's own units are: `$XDG_CONFIG_HOME/systemd/user`."""
    base = environ.get("XDG_CONFIG_HOME", "")
    return Path(base if base.startswith("/") else f"{environ['HOME']}/.config") / "systemd" / "user"


def version(run: Callable[[Sequence[str]], str] = run_command) -> int:
    """Return systemd's version; 0 where it does not say. Raises `ServiceUnavailable` where there is no systemd."""
    found = re.match(r"systemd (\d+)", run(("systemctl", "--version")))
    return int(found[1]) if found else 0


def reachable_version(foreground: str, run: Callable[[Sequence[str]], str] = run_command) -> int:
    """Return systemd's version, after a check that this user's manager can be reached.

    `foreground` is the command that runs without one. Raises `ServiceUnavailable`.
    """
    found = version(run)
    try:
        run((*_SYSTEMCTL, "show", "--property=Version"))
    except CodexError as error:
        raise ServiceUnavailable(
            "your systemd user manager cannot be reached",
            why=error.why,
            next_step="log in as this user (ssh, or machinectl shell; not su or sudo), or run loginctl enable-linger "
            f"and set XDG_RUNTIME_DIR to /run/user/<uid>; {foreground} runs without it",
        ) from error
    return found


def install_plan(texts: Mapping[str, str], folder: Path, unit: str, notes: Sequence[str], *, start: bool) -> Plan:
    """Return what installs units into `folder`, enables `unit` and, if asked, starts it."""
    steps = (
        *(WriteFile(folder / name, text) for name, text in texts.items()),
        Run((*_SYSTEMCTL, "daemon-reload")),
        Run((*_SYSTEMCTL, "enable", unit)),
        # Otherwise a failed unit stays failed until its start limit has passed.
        Run((*_SYSTEMCTL, "reset-failed", unit), may_fail=True),
        *((Run((*_SYSTEMCTL, "start", unit)),) if start else ()),
    )
    return Plan(steps, (*notes, LINGER_NOTE))


LINGER_NOTE = (
    "the service starts when you log in and ends when you have logged out everywhere; "
    "loginctl enable-linger makes it start with the machine and stay"
)


def uninstall_plan(folder: Path, units: Sequence[str]) -> Plan:
    """Return what stops the first of `units` and removes them all."""
    steps: tuple[Step, ...] = (
        Run((*_SYSTEMCTL, "disable", "--now", units[0]), may_fail=True),
        Run((*_SYSTEMCTL, "reset-failed", *units), may_fail=True),
        *(RemoveFile(folder / unit) for unit in units),
        Run((*_SYSTEMCTL, "daemon-reload")),
    )
    return Plan(steps)


@dataclass(frozen=True)
class UnitState:
    """What `systemctl --user show` says of a unit, in its words."""

    load: str
    enabled: str
    active: str
    sub: str
    result: str
    pid: int
    restarts: int
    status: str
    """The live line that the service sends."""


def unit_state(unit: str, run: Callable[[Sequence[str]], str] = run_command) -> UnitState:
    """Ask systemd for the state of a unit. Raises `ServiceUnavailable`."""
    names = ("LoadState", "UnitFileState", "ActiveState", "SubState", "Result", "MainPID", "NRestarts", "StatusText")
    shown = run((*_SYSTEMCTL, "show", unit, *(f"--property={name}" for name in names)))
    found = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    return UnitState(
        load=found.get("LoadState", ""),
        enabled=found.get("UnitFileState", ""),
        active=found.get("ActiveState", ""),
        sub=found.get("SubState", ""),
        result=found.get("Result", ""),
        pid=int(found.get("MainPID") or 0),
        restarts=int(found.get("NRestarts") or 0),
        status=found.get("StatusText", ""),
    )
