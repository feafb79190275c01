"""Ends the service: by its service manager where that runs it, else by a signal to the process behind its socket."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from codex_control.errors import ServiceUnavailable, TimedOut
from codex_control.paths import Paths

from codexctl.service import UNIT, installed_agent, is_running

_POLL_S = 0.05
_PROBE_S = 1.0
# <sys/un.h> of macOS: the pid of the process that listens on the other end.
_SOL_LOCAL, _LOCAL_PEERPID = 0, 2


@dataclass(frozen=True)
class Listener:
    """The process that listens on the control socket; the kernel says which one it is."""

    pid: int
    manager: str
    """What runs it: `systemd`, `launchd`, or nothing."""
    label: str = ""
    """Its name there."""


def find_listener(paths: Paths, environ: dict[str, str]) -> Listener | None:
    """Return the process that serves; None where none does. Raises what `is_running` raises."""
    if not is_running(paths):
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(paths.control_socket))
            pid = _peer_pid(probe)
        except (ConnectionRefusedError, FileNotFoundError):
            return None  # it went in this moment
    if sys.platform == "darwin":
        agent = installed_agent(environ)
        return Listener(pid, "launchd", agent.stem) if agent and _agent_runs(agent.stem, pid) else Listener(pid, "")
    return Listener(pid, "systemd", UNIT) if _is_unit(pid) else Listener(pid, "")


def end(listener: Listener, timeout_s: float) -> None:
    """Tell it to end, and return when it is gone; raises `TimedOut`, and `ServiceUnavailable` where it is not let."""
    deadline = time.monotonic() + timeout_s
    # Held before it is signalled: its pid cannot become another process's.
    held = os.pidfd_open(listener.pid) if hasattr(os, "pidfd_open") else -1
    try:
        match listener.manager:
            case "systemd":
                _run(["systemctl", "--user", "stop", listener.label], timeout_s)
            case "launchd":
                _run(["launchctl", "kill", "SIGTERM", f"gui/{os.getuid()}/{listener.label}"], timeout_s)
            case _ if held >= 0:
                signal.pidfd_send_signal(held, signal.SIGTERM)
            case _:
                os.kill(listener.pid, signal.SIGTERM)
        _wait_until_gone(listener.pid, held, deadline)
    except ProcessLookupError:
        return
    except TimeoutError as error:
        raise TimedOut(
            f"the service (pid {listener.pid}) has not ended after {timeout_s:g} s",
            why="it was told to, and ends its children first",
            next_step="`codexctl logs` shows what it waits for; run `codexctl shutdown` again to go on waiting",
        ) from error
    finally:
        if held >= 0:
            os.close(held)


def living_children(paths: Paths) -> int:
    """How many children still accept connections: those of a service that ended in disorder."""
    count = 0
    for path in paths.children_dir.glob("*.sock") if paths.children_dir.is_dir() else ():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_PROBE_S)
            try:
                probe.connect(str(path))
            except OSError:
                continue
            count += 1
    return count


def _peer_pid(connected: socket.socket) -> int:
    if sys.platform == "darwin":
        (pid,) = struct.unpack("i", connected.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID, 4))
    else:
        pid, _uid, _gid = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid)


def _is_unit(pid: int) -> bool:
    # The service may have moved itself into a group below that of its unit.
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False
    return any(UNIT in line.rpartition(":")[2].split("/") for line in groups.splitlines())


def _agent_runs(label: str, pid: int) -> bool:
    shown = subprocess.run(
        ["launchctl", "print", f"gui/{os.getuid()}/{label}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=5,
    )
    return any(line.split() == ["pid", "=", str(pid)] for line in shown.stdout.splitlines())


def _run(command: list[str], timeout_s: float) -> None:
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=True)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    except (OSError, subprocess.CalledProcessError) as error:
        why = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        raise ServiceUnavailable(
            "the service manager did not end the service", why=why, next_step=f"try it yourself: {' '.join(command)}"
        ) from error


def _wait_until_gone(pid: int, held: int, deadline: float) -> None:
    if held >= 0:
        # A zombie is gone too: whoever started it may not have looked yet.
        if not select.select([held], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError
        return
    while True:
        os.kill(pid, 0)
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(_POLL_S)
