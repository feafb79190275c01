"""A clock that a test turns."""

from __future__ import annotations

NS = 1_000_000_000

START_NS = 1_760_000_000 * NS
"""Where the wall clock begins."""


class TurningClock:
    """Both clocks stand still until `turn`."""

    def __init__(self) -> None:
        self._now_s = 1000.0
        self._wall_ns = START_NS

    def monotonic(self) -> float:
        return self._now_s

    def wall_ns(self) -> int:
        return self._wall_ns

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        self._now_s += seconds
        self._wall_ns += int(seconds * NS)

    def jump(self, seconds: float) -> None:
        """Set the wall clock as a person or NTP does: no time passes."""
        self._wall_ns += int(seconds * NS)
