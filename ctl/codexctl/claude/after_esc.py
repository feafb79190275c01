"""Decides what ended a wait: the person's Esc, which stops the turn, or the end of Claude Code, which does not.

Both end the hook with SIGTERM. Claude Code that goes away waits for its hooks to end, then runs its SessionEnd hooks
and is gone (measured with 2.1.329); so the hook itself cannot tell, and this runs as a process that outlives it.
Run it as `python -m codexctl.claude.after_esc CLAUDE_PID TURN`.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from codex_control.own_python import own_python, own_python_environment

# Claude Code that is told to end is gone, or runs its SessionEnd hooks, within half of this.
SETTLES_S = 0.8
_LOOK_S = 0.02
_INTERRUPT_LIMIT_S = 10.0


def main() -> None:
    """Interrupt the turn unless Claude Code goes; say nothing, for nobody listens."""
    claude, turn = int(sys.argv[1]), sys.argv[2]
    if not claude_goes(claude):
        interrupt(turn)


def start(claude: int, turn: str) -> None:
    """Run this in a process of its own that nobody waits for."""
    import subprocess

    subprocess.Popen(
        [*own_python("codexctl.claude.after_esc"), str(claude), turn],
        env=own_python_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def claude_goes(claude: int) -> bool:
    """Whether Claude Code ends, within the time that it takes for that."""
    settled_at = time.monotonic() + SETTLES_S
    while True:
        if not _lives(claude) or _runs_session_end(claude):
            return True
        if time.monotonic() > settled_at:
            return False
        time.sleep(_LOOK_S)


def interrupt(turn: str) -> None:
    """Stop the turn, where there is one that can be stopped."""
    from codex_control.errors import CodexError
    from codex_control.v1.turns_pb2 import InterruptRequest, InterruptResponse

    from codexctl.session import Session

    session = Session(may_start=False)
    try:
        client = session.client(start=False)
        client.call("Turns.Interrupt", InterruptRequest(turn_id=turn), InterruptResponse, timeout_s=_INTERRUPT_LIMIT_S)
    except CodexError:
        pass  # it was not sent yet, it has ended, or the service is away
    finally:
        session.close()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return sys.platform != "linux"


def _runs_session_end(claude: int) -> bool:
    """Whether our SessionEnd hook is a child of that process: it is the last thing that Claude Code does."""
    # Where there is no /proc (macOS) only its end counts.
    for task in Path(f"/proc/{claude}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            try:
                words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"hook" in words and b"session-end" in words:
                return True
    return False


if __name__ == "__main__":
    main()
