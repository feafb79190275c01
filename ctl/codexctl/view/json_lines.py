"""A turn for programs: each event as one line of JSON."""

from __future__ import annotations

from codex_control.v1.turns_pb2 import TurnEvent

from codexctl.output import put_message


class JsonView:
    """Prints each event as it comes; the last one holds the whole record."""

    def show(self, event: TurnEvent) -> None:
        """Print `event`."""
        put_message(event)
