"""Waits for a turn inside a hook: not longer than the hook may take, and not past the person's Esc."""

from __future__ import annotations

import os
import signal
import threading
import time
from queue import Empty, SimpleQueue
from types import FrameType, TracebackType
from typing import Self

from codex_control.errors import CodexError
from codex_control.v1.turns_pb2 import Turn, TurnEvent

from codexctl.claude import after_esc
from codexctl.claude.answer_text import Notices
from codexctl.feed import FeedItem, TurnFeed
from codexctl.output import say


def wait_for_turn(feed: TurnFeed, notices: Notices, limit_s: float) -> Turn | None:
    """Follow the turn to its end and return its record; None where it takes longer than `limit_s`.

    Raises the `CodexError` that the feed ended with.
    """
    inbox: SimpleQueue[FeedItem | BaseException | None] = SimpleQueue()
    threading.Thread(target=_pump, args=(feed, inbox), daemon=True).start()
    deadline, told = time.monotonic() + limit_s, False
    while True:
        try:
            item = inbox.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            return None
        if isinstance(item, BaseException):
            raise item
        if item is None:
            raise CodexError("the turn has no outcome", next_step=f"`codexctl attach {feed.attach_id}` shows it")
        if isinstance(item, TurnEvent):
            if not told:
                # Claude Code shows a hook's output at its end only; who reads its events (stream-json) sees it now.
                say(f"turn {feed.turn_id} is accepted; codexctl attach {feed.turn_id} follows it in a terminal")
                told = True
            notices.take(item)
            if item.WhichOneof("event") == "ended":
                return item.ended.turn


def _pump(feed: TurnFeed, inbox: SimpleQueue[FeedItem | BaseException | None]) -> None:
    try:
        for item in feed:
            inbox.put(item)
        inbox.put(None)
    except Exception as error:  # it is raised again in the main thread
        inbox.put(error)


class Esc:
    """A context in which the person's Esc interrupts the turn of the request and ends this process.

    Enter it before the request is sent. Where Claude Code itself goes away, the turn is left to run: it is found again
    with `codexctl attach`. Which of the two it was is decided after our end, see `after_esc`.
    """

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._claude = os.getppid()
        self._previous: object = None

    def __enter__(self) -> Self:
        self._previous = signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGTERM, self._previous)  # type: ignore[arg-type] # it is what signal.signal returned

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 # signal's signature
        # The main thread may be in the middle of grpc, which may not be entered again from here.
        threading.Thread(target=self._leave, daemon=True).start()

    def _leave(self) -> None:
        if os.getppid() == self._claude:
            after_esc.start(self._claude, self._request_id)
        os._exit(0)
