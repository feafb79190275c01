"""How a turn is shown, as far as the user said."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Showing:
    """How a turn is shown; None for `final_only` means as the instance is set."""

    final_only: bool | None = None
    stream: bool = False
    interactive: bool | None = None

    @property
    def asks_person(self) -> bool:
        """Whether someone sits at this terminal who can answer what Codex asks."""
        return sys.stdin.isatty() and sys.stdout.isatty() and not self.stream and self.interactive is not False

    @property
    def says_interactive(self) -> bool:
        """Whether the service is told that a person answers: here, or with `codexctl approve` elsewhere."""
        return self.asks_person if self.interactive is None else self.interactive
