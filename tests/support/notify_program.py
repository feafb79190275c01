"""A stand-in for `codex-supervisor` and `codexctl` under systemd: what it does is in its knobs, files of one directory.

`serve` starts one child in a session of its own, records it in `child`, and adopts the one it finds there; `begun` gets
a line for each start. While `deaf` is there it does not feed the watchdog, while `broken` is there it ends at once with
that exit code. SIGTERM: it ends its child, unless `careless` is there. SIGHUP: it says that it reloads, and executes
itself. `sweep` ends the recorded child and writes why it ran to `swept`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from codex_control.service.clock import SystemClock
from codex_control.service.notify import Notifier, watchdog_limit_s


def main(knobs: Path, arguments: list[str]) -> int:
    """Do one of the commands."""
    match arguments:
        case ["serve"]:
            return _serve(knobs)
        case ["sweep", *options]:
            _end_child(knobs)
            _note(knobs / "swept", " ".join([os.environ.get("SERVICE_RESULT", "-"), *options]))
            return 0
        case ["reload", "--exec"]:
            os.kill(int((knobs / "pid").read_text()), signal.SIGHUP)
            while not (knobs / "reloaded").exists():
                time.sleep(0.01)
            return 0
        case _:
            print(f"unknown: {arguments}", file=sys.stderr)
            return 2


def _serve(knobs: Path) -> int:
    _note(knobs / "begun", os.environ.get("PATH", ""))
    if (knobs / "broken").exists():
        return int((knobs / "broken").read_text())
    (knobs / "pid").write_text(str(os.getpid()))
    adopted = _adopt_or_start(knobs)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_stop(knobs)))
    signal.signal(signal.SIGHUP, lambda *_: _execute_again(knobs))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    notifier = Notifier(SystemClock())
    if not notifier.ready("adopted a child" if adopted else "started a child"):
        return 1
    if "NOTIFY_PROGRAM_AGAIN" in os.environ:
        (knobs / "reloaded").touch()
    turn_s = (watchdog_limit_s() or 1.0) / 3
    while True:
        if not (knobs / "deaf").exists():
            notifier.alive()
        time.sleep(turn_s)


def _adopt_or_start(knobs: Path) -> bool:
    record = knobs / "child"
    if record.exists():
        return True
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    record.write_text(str(child.pid))
    return False


def _stop(knobs: Path) -> int:
    Notifier(SystemClock()).stopping("stopping a child")
    if not (knobs / "careless").exists():
        _end_child(knobs)
    return 0


def _execute_again(knobs: Path) -> None:
    Notifier(SystemClock()).reloading("executing the new version")
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "NOTIFY_PROGRAM_AGAIN": "1"})


def _end_child(knobs: Path) -> None:
    record = knobs / "child"
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int(record.read_text()), signal.SIGKILL)
    record.unlink(missing_ok=True)


def _note(file: Path, line: str) -> None:
    with file.open("a") as notes:
        notes.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
