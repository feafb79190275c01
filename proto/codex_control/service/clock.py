"""The one source of time, handed in everywhere so that tests can turn it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time in two ways that must not be mixed."""

    def monotonic(self) -> float:
        """Seconds that never jump; for durations, deadlines and back-off."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since the epoch; for what people read. It may jump."""
        ...


class SystemClock:
    """The operating system's clocks."""

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    def wall_ns(self) -> int:
        """See `Clock.wall_ns`."""
        return time.time_ns()
