"""Ctrl-C while a turn is followed: the first interrupts the turn, the second leaves it running."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

from codex_control.errors import CodexError, NotFound, ServiceUnavailable, WrongState
from codex_control.v1.turns_pb2 import InterruptRequest, InterruptResponse

from codexctl.client import Client
from codexctl.output import say

_RETRY_S = 0.5


class Interrupts:
    """A context in which SIGINT is answered.

    The first SIGINT sends `Turns.Interrupt` from a thread of its own, as soon as the turn's id is known; the stream
    goes on and brings the record. The second raises `KeyboardInterrupt` in the main thread.
    """

    def __init__(self, connect: Callable[[bool], Client]) -> None:
        self._connect = connect
        self._turn_id = ""
        self._turn_known = threading.Event()
        self._wanted = False
        self._previous: object = None

    def __enter__(self) -> Self:
        self._previous = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._previous)  # type: ignore[arg-type] # it is what signal.signal returned

    def turn_is(self, turn_id: str) -> None:
        """Tell the turn's id; an interrupt that was wanted before is sent now."""
        self._turn_id = turn_id
        self._turn_known.set()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 # signal's signature
        if self._wanted:
            raise KeyboardInterrupt
        self._wanted = True
        # The main thread may be in the middle of grpc or of a write to stderr: neither may be entered again from here.
        threading.Thread(target=self._interrupt, daemon=True).start()

    def _interrupt(self) -> None:
        say("interrupting the turn; Ctrl-C again leaves it running")
        self._turn_known.wait()
        request = InterruptRequest(turn_id=self._turn_id)
        while True:
            try:
                self._connect(False).call("Turns.Interrupt", request, InterruptResponse, timeout_s=None)
            except ServiceUnavailable:
                # The stream reconnects at the same time, and gives up in time; then the process ends, and this too.
                time.sleep(_RETRY_S)
                continue
            except (NotFound, WrongState):
                return  # it has ended: its record is on its way
            except CodexError as error:
                say(f"the turn could not be interrupted: {error}")
            return
