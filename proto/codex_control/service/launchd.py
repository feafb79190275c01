"""launchd agents of macOS: their property lists, and the plans that load and remove them.

Keys are those of launchd.plist(5). launchd knows no readiness, no watchdog and no limit of starts: the last one is ours
(`start_limit`), kept by the command `serve-under-launchd` of each service.
"""

from __future__ import annotations

import plistlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codex_control.errors import ServiceUnavailable
from codex_control.service.own_file import blank_seal, sealed
from codex_control.service.plan import MakeDir, Plan, RemoveFile, Run, WriteFile, run_command

# launchd starts nothing more often than this; 10 is its own default, and smaller values count as 10.
THROTTLE_S = 10
# Time between SIGTERM and SIGKILL; the service ends its work in it, as with TimeoutStopSec of the systemd units.
EXIT_TIMEOUT_S = 60


def agent_text(
    label: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    log_dir: Path,
    *,
    exit_timeout_s: int = EXIT_TIMEOUT_S,
) -> str:
    """Return the sealed property list of the agent `label`, which runs `command serve-under-launchd`."""
    log = str(log_dir / "launchd.log")
    content = {
        "Label": label,
        "ProgramArguments": [*command, "serve-under-launchd"],
        "EnvironmentVariables": dict(environment),
        "RunAtLoad": True,
        # Again after a crash or an error; not after an orderly end, nor when the start limit says so (exit code 0).
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": THROTTLE_S,
        "ExitTimeOut": exit_timeout_s,
        # launchd would end what a crashed service left; the next one adopts it.
        "AbandonProcessGroup": True,
        "ProcessType": "Interactive",
        "Umask": 0o077,
        # Only what is written before the service's own log is open.
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    text = plistlib.dumps(content, sort_keys=False).decode()
    # plistlib writes no comments; one may stand before the root element.
    return sealed(text.replace("<plist ", f"<!-- {blank_seal(label)} -->\n<plist ", 1))


def agent_file(label: str, environ: Mapping[str, str]) -> Path:
    """Return where the property list goes."""
    return Path(environ["HOME"]) / "Library" / "LaunchAgents" / f"{label}.plist"


def install_plan(label: str, text: str, log_dir: Path, file: Path, uid: int, notes: Sequence[str]) -> Plan:
    """Return what writes the agent and loads it; launchd starts what it loads, and again at each login."""
    domain = f"gui/{uid}"
    steps = (
        # launchd makes the log, but not the directory for it.
        MakeDir(log_dir),
        WriteFile(file, text),
        # What is loaded keeps its old text until it is unloaded.
        Run(("launchctl", "bootout", f"{domain}/{label}"), may_fail=True),
        Run(("launchctl", "enable", f"{domain}/{label}")),
        Run(("launchctl", "bootstrap", domain, str(file))),
    )
    return Plan(steps, (*notes, "the service runs while you are logged in"))


def uninstall_plan(label: str, file: Path, uid: int) -> Plan:
    """Return what stops the service and removes the agent."""
    return Plan((Run(("launchctl", "bootout", f"gui/{uid}/{label}"), may_fail=True), RemoveFile(file)))


@dataclass(frozen=True)
class AgentState:
    """What `launchctl print` says of an agent."""

    loaded: bool
    state: str = ""
    pid: int = 0
    runs: int = 0
    last_exit: str = ""


def agent_state(label: str, uid: int, run: Callable[[Sequence[str]], str] = run_command) -> AgentState:
    """Ask launchd for the state of an agent; one that is not loaded is no error."""
    try:
        shown = run(("launchctl", "print", f"gui/{uid}/{label}"))
    except ServiceUnavailable:
        return AgentState(loaded=False)
    return read_agent_state(shown)


def read_agent_state(shown: str) -> AgentState:
    """Read what `launchctl print` printed. Apple calls it no interface: what is missing stays empty."""

    def value(name: str) -> str:
        found = re.search(rf"^\t{name} = (.*)$", shown, re.MULTILINE)
        return found[1].strip() if found else ""

    def number(name: str) -> int:
        return int(value(name)) if value(name).isdigit() else 0

    return AgentState(True, value("state"), number("pid"), number("runs"), value("last exit code"))
