"""The systemd user unit: its text, and the plans that install and remove it.

Escaping follows systemd.syntax(7), systemd.service(5) "Command lines" and systemd.unit(5) "Specifiers".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from codex_control.errors import CodexError, ServiceUnavailable
from codex_control.service.own_file import blank_seal, sealed
from codex_control.service.plan import Plan, RemoveFile, Run, WriteFile, run_command

from codex_supervisor.osservice.program import Program, codex_note

UNIT = "codex-supervisor.service"
SWEEP_UNIT = "codex-supervisor-sweep.service"
# Since systemd 254 OnFailure= fires at each automatic restart unless RestartMode=direct is set
# (https://github.com/systemd/systemd/issues/33710); older versions do not know the key.
RESTART_MODE_VERSION = 254

_SYSTEMCTL = ("systemctl", "--user")


def unit_texts(program: Program, systemd_version: int) -> dict[str, str]:
    """Return the sealed text of each unit by its name."""
    values = {
        "SEAL": blank_seal(),
        "SUPERVISOR": command_line(program.supervisor),
        "CTL": command_line(program.ctl),
        "RESTART_MODE": "RestartMode=direct" if systemd_version >= RESTART_MODE_VERSION else "",
        "ENVIRONMENT": "\n".join(environment_line(name, value) for name, value in program.environment.items()),
    }
    return {name: sealed(_filled(name + ".in", values)) for name in (UNIT, SWEEP_UNIT)}


def _filled(template: str, values: Mapping[str, str]) -> str:
    text = files("codex_supervisor.osservice").joinpath(template).read_text(encoding="utf-8")
    filled = re.sub(r"@([A-Z_]+)@", lambda place: values[place[1]], text)
    return re.sub(r"\n{3,}", "\n\n", filled)


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


def reachable_version(run: Callable[[Sequence[str]], str] = run_command) -> int:
    """Return systemd's version, after a check that this user's manager can be reached. Raises `ServiceUnavailable`."""
    found = version(run)
    try:
        run((*_SYSTEMCTL, "show", "--property=Version"))
    except CodexError as error:
        raise ServiceUnavailable(
            "your systemd user manager cannot be reached",
            why=error.why,
            next_step="log in as this user (ssh, or machinectl shell; not su or sudo), or run loginctl enable-linger "
            "and set XDG_RUNTIME_DIR to /run/user/<uid>; codex-supervisor serve runs without it",
        ) from error
    return found


def install_plan(program: Program, folder: Path, systemd_version: int, *, start: bool) -> Plan:
    """Return what installs the units into `folder`, enables them and, if asked, starts the service or its new text."""
    texts = unit_texts(program, systemd_version)
    steps = (
        *(WriteFile(folder / name, text) for name, text in texts.items()),
        Run((*_SYSTEMCTL, "daemon-reload")),
        Run((*_SYSTEMCTL, "enable", UNIT)),
        # Otherwise a failed unit stays failed until its start limit has passed.
        Run((*_SYSTEMCTL, "reset-failed", UNIT), may_fail=True),
        *((Run((*_SYSTEMCTL, "start", UNIT)),) if start else ()),
    )
    return Plan(steps, (codex_note(program), LINGER_NOTE))


LINGER_NOTE = (
    "the service starts when you log in and ends when you have logged out everywhere; "
    "loginctl enable-linger makes it start with the machine and stay"
)


def uninstall_plan(folder: Path) -> Plan:
    """Return what stops the service, with its children, and removes the units."""
    steps = (
        Run((*_SYSTEMCTL, "disable", "--now", UNIT), may_fail=True),
        Run((*_SYSTEMCTL, "reset-failed", UNIT, SWEEP_UNIT), may_fail=True),
        RemoveFile(folder / UNIT),
        RemoveFile(folder / SWEEP_UNIT),
        Run((*_SYSTEMCTL, "daemon-reload")),
    )
    return Plan(steps)


@dataclass(frozen=True)
class UnitState:
    """What `systemctl --user show` says of our unit, in its words."""

    load: str
    enabled: str
    active: str
    sub: str
    result: str
    pid: int
    restarts: int
    status: str
    """The live line that the supervisor sends."""


def unit_state(run: Callable[[Sequence[str]], str] = run_command, unit: str = UNIT) -> UnitState:
    """Ask systemd for the state of our unit. Raises `ServiceUnavailable`."""
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
