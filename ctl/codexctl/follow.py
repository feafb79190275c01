"""Follows a turn to its end: events to a view, Ctrl-C to the service, what a person typed to Codex."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol

from codex_control.errors import CodexError, Exit, NotFound
from codex_control.v1.instances_pb2 import GetInstanceRequest, GetInstanceResponse, InstanceRef
from codex_control.v1.turns_pb2 import RespondResponse, Turn, TurnEvent

from codexctl.feed import FeedItem, LinkBack, LinkLost, TurnFeed
from codexctl.interrupts import Interrupts
from codexctl.output import put, say
from codexctl.session import Session
from codexctl.showing import Showing
from codexctl.view.lines import exit_code, receipt_line

if TYPE_CHECKING:
    from codexctl.view.terminal import TerminalView


class View(Protocol):
    """What a turn is shown on."""

    def show(self, event: TurnEvent) -> None:
        """Show one event."""
        ...


class Details:
    """Whether details are shown: as the user said, else as the instance is set, which is asked for when needed."""

    def __init__(self, session: Session, final_only: bool | None) -> None:
        self._session = session
        self._final_only = final_only
        self.instance = ""

    def __call__(self) -> bool:
        if self._final_only is None:
            request = GetInstanceRequest(instance=InstanceRef(id=self.instance))
            try:
                answer = self._session.client(start=False).call("Instances.Get", request, GetInstanceResponse)
                self._final_only = answer.instance.settings.final_only
            except CodexError:
                self._final_only = False  # a detail too many is better than a turn that is not shown
        return not self._final_only


def follow(session: Session, feed: TurnFeed, showing: Showing) -> Exit:
    """Show the turn of `feed` until its end and return the exit code of its outcome.

    A second Ctrl-C leaves at once with `Exit.DETACHED`, having said how to attach.
    """
    details = Details(session, showing.final_only)
    try:
        with Interrupts(lambda start: session.client(start=start)) as interrupts:
            items = _announced(feed, interrupts, details)
            if session.json:
                from codexctl.view.json_lines import JsonView

                turn = _follow_lines(items, JsonView())
            elif sys.stdout.isatty() and not showing.stream:
                turn = _follow_on_terminal(session, items, details, showing)
            else:
                from codexctl.view.plain import PlainView

                view = PlainView(details, stream=showing.stream)
                turn = _follow_lines(items, view)
    except KeyboardInterrupt:
        say(f"left; the turn goes on · attach with: codexctl attach {feed.attach_id}")
        return Exit.DETACHED
    return exit_code(turn)


def detach(feed: TurnFeed, *, as_json: bool) -> Exit:
    """Wait for the receipt alone; its turn id is the result."""
    from codexctl.output import put_message

    for item in feed:
        if isinstance(item, TurnEvent):
            say(receipt_line(item.turn_id))
            if as_json:
                put_message(item)
            else:
                put(item.turn_id)
            break
    return Exit.OK


def _announced(feed: TurnFeed, interrupts: Interrupts, details: Details) -> Iterator[FeedItem]:
    """The items of `feed`; the turn's id is on stderr before the first of them is passed on."""
    known = False
    for item in feed:
        if not known and isinstance(item, TurnEvent):
            known = True
            say(receipt_line(item.turn_id))
            interrupts.turn_is(item.turn_id)
        if isinstance(item, TurnEvent) and item.WhichOneof("event") == "accepted":
            details.instance = item.accepted.instance
        yield item


def _link_line(item: LinkLost | LinkBack) -> str:
    match item:
        case LinkLost(why):
            return f"the connection to the service was lost, trying again: {why}"
        case LinkBack():
            return "the connection is back"


def _follow_lines(items: Iterator[FeedItem], view: View) -> Turn:
    for item in items:
        if isinstance(item, TurnEvent):
            view.show(item)
            if item.WhichOneof("event") == "ended":
                return item.ended.turn
        else:
            say(_link_line(item))
    raise NotFound("the turn has no outcome", next_step="`codexctl turns` shows where it stands")


def _follow_on_terminal(session: Session, items: Iterator[FeedItem], details: Details, showing: Showing) -> Turn:
    inbox: SimpleQueue[FeedItem | BaseException] = SimpleQueue()
    wake_read, wake_write = os.pipe()
    threading.Thread(target=_pump, args=(items, inbox, wake_write), daemon=True).start()
    # After the request went out: the import takes as long as Codex needs to begin.
    from codexctl.view.terminal import TerminalView

    view = TerminalView(details, ask_person=showing.asks_person)
    try:
        while True:
            ended = _show_waiting(inbox, view)
            if ended is not None:
                return ended
            view.paint()
            watched = [wake_read, sys.stdin.fileno()] if view.wants_line else [wake_read]
            ready, _, _ = select.select(watched, [], [], view.tick_s)
            if wake_read in ready:
                os.read(wake_read, 1 << 16)
            if len(ready) > (wake_read in ready):
                _answer(session, view)
    finally:
        view.close()


def _pump(items: Iterator[FeedItem], inbox: SimpleQueue[FeedItem | BaseException], wake: int) -> None:
    try:
        for item in items:
            inbox.put(item)
            os.write(wake, b".")
    except Exception as error:  # it is raised again in the main thread
        inbox.put(error)
        os.write(wake, b".")


def _show_waiting(inbox: SimpleQueue[FeedItem | BaseException], view: TerminalView) -> Turn | None:
    """Show all that has come; the record where the turn has ended."""
    while True:
        try:
            item = inbox.get_nowait()
        except Empty:
            return None
        if isinstance(item, BaseException):
            raise item
        if not isinstance(item, TurnEvent):
            view.link(_link_line(item), lost=isinstance(item, LinkLost))
            continue
        view.show(item)
        if item.WhichOneof("event") == "ended":
            return item.ended.turn


def _answer(session: Session, view: TerminalView) -> None:
    typed = os.read(sys.stdin.fileno(), 1 << 12)
    response = view.take_line(typed.decode(errors="replace") if typed else None)
    if response is not None:
        try:
            session.client(start=False).call("Turns.Respond", response, RespondResponse)
        except CodexError as error:
            view.notice(str(error))
