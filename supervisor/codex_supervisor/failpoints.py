"""Places at which tests let the supervisor die: the moments between two steps that no outside kill can hit.

Off unless `CODEX_SUPERVISOR_FAILPOINT` names one; then the process SIGKILLs itself there, as if the machine had.
"""

from __future__ import annotations

import os
import signal
from typing import Literal

_ARMED = os.environ.get("CODEX_SUPERVISOR_FAILPOINT", "")

Failpoint = Literal[
    "turn-committed",
    "child-recorded",
    "child-spawned",
    "turn-sent",
    "cancel-recorded",
    "task-claimed",
    "task-asked",
    "task-giving-back",
    "task-ending",
    "task-ended",
]


def reach(name: Failpoint) -> None:
    """Die here where this failpoint is armed."""
    if name == _ARMED:
        os.kill(os.getpid(), signal.SIGKILL)
