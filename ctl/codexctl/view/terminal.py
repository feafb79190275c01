"""A turn on a terminal: Markdown as it grows, a line with what Codex does now, questions to the person."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable

from codex_control.safe_text import duration_text, strip_controls
from codex_control.v1.outcome_pb2 import OUTCOME_COMPLETED
from codex_control.v1.turns_pb2 import RespondRequest, Turn, TurnEvent
from rich.console import Console, Group
from rich.live import Live
from rich.markdown import Markdown
from rich.segment import Segment, Segments
from rich.text import Text

from codexctl.output import say
from codexctl.view.activity import Activity, next_activity
from codexctl.view.lines import answer_hint, approval_lines, detail_line, ended_line, notice_line
from codexctl.view.markdown import GrowingText
from codexctl.view.prompt import Prompt

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAME_S = 0.1
# Deltas come by the hundred each second; nobody reads so many pictures.
_BETWEEN_PAINTS_S = 0.05


class TerminalView:
    """Shows events on the terminal that stdout is. `show` and `notice` take what happens, `paint` brings the screen up
    to date (call it every tenth of a second), `take_line` hands over what the person typed.

    `details` says whether commands, files and commentary are shown; `ask_person` whether approvals are put here.
    """

    tick_s = _FRAME_S

    def __init__(self, details: Callable[[], bool], *, ask_person: bool) -> None:
        self._details = details
        self._ask_person = ask_person
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._live: Live | None = None
        self._activity = Activity("connecting", time.monotonic())
        self._before_loss: Activity | None = None
        self._texts: dict[str, GrowingText] = {}
        self._messages: dict[str, str] = {}
        self._reasoning = ""
        self._prompts: dict[str, Prompt] = {}
        self._introduced: set[str] = set()
        self._asked = ""
        self._begun = False
        self._painted_s = 0.0

    def show(self, event: TurnEvent) -> None:
        """Take one event."""
        self._activity = next_activity(self._activity, event, time.monotonic())
        kind = event.WhichOneof("event")
        if kind != "reasoning" and self._reasoning:
            self._print(Text(strip_controls(self._reasoning.strip()), style="dim italic"))
            self._reasoning = ""
        if kind == "recovery":
            self._drop(event.recovery.superseded_item_ids)
        elif kind == "retry":
            self._drop(event.retry.superseded_item_ids)
        if line := notice_line(event):
            self.notice(line)
        match kind:
            case "reasoning":
                self._reasoning += event.reasoning.text
            case "text":
                self._texts.setdefault(event.text.item_id, GrowingText()).append(event.text.text)
            case "message":
                self._complete(event.message.item_id, event.message.text)
            case "approval":
                self._open_prompt(event)
            case "approval_resolved":
                self._close_prompt(event)
            case "ended":
                self._end(event.ended.turn)
            case "queued":
                pass  # the line with the activity says it
            case _:
                detail = detail_line(event)
                if detail and self._details():
                    self._print(Text(detail, style="dim"))

    def link(self, line: str, *, lost: bool) -> None:
        """Print that the connection was lost or is back. Nobody knows what is done while it is away."""
        self.notice(line)
        if lost:
            self._before_loss = self._activity
            self._activity = Activity("not connected to the service", time.monotonic())
        elif self._before_loss is not None:
            self._activity, self._before_loss = self._before_loss, None

    def notice(self, line: str) -> None:
        """Print a line that the person has to see."""
        self._print(Text(strip_controls(line), style="yellow"))

    @property
    def wants_line(self) -> bool:
        """Whether a prompt is on the screen and waits for a line."""
        return bool(self._asked)

    def take_line(self, line: str | None) -> RespondRequest | None:
        """Take what the person typed (None: end of input); a response to send, or None to ask on."""
        prompt = self._prompts[self._asked]
        response = prompt.take(line)
        self._asked = ""
        if response is not None:
            del self._prompts[response.approval_id]
        return response

    def paint(self) -> None:
        """Print what became final, then draw what changes, or the prompt; not more often than is of use."""
        now_s = time.monotonic()
        if now_s - self._painted_s < _BETWEEN_PAINTS_S:
            return
        self._painted_s = now_s
        self._print_final_blocks()
        if self._prompts:
            self._put_prompt()
            return
        if self._live is None and self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=True
            )
            self._live.start()
        if self._live is not None:
            self._live.update(self._changing_part(), refresh=True)

    def close(self) -> None:
        """Take the changing part off the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._asked:
            self._asked = ""
            self._console.print()

    def _print(self, *parts: object) -> None:
        if self._asked:  # off the line with the prompt; paint puts it again
            self._asked = ""
            self._console.print()
        if self._live is not None:  # what is drawn again below the parts must not be what was there before
            self._live.update(self._changing_part(), refresh=True)
        self._console.print(*parts)

    def _print_markdown(self, text: str) -> None:
        if text.strip():
            if self._begun:
                self._print()
            self._begun = True
            self._print(_markdown(text))

    def _print_final_blocks(self) -> None:
        if self._details():
            for text in self._texts.values():
                self._print_markdown(text.take_final())

    def _complete(self, item_id: str, text: str) -> None:
        growing = self._texts.pop(item_id, None) or GrowingText()
        if not self._details():
            return
        if not growing.complete(text):
            self.notice("the text above is void; the message again:")
        self._print_markdown(growing.take_all())
        self._messages[item_id] = text

    def _drop(self, item_ids: Iterable[str]) -> None:
        # What was printed for good cannot be taken back; the line about the recovery says that it is void.
        for item_id in item_ids:
            self._texts.pop(item_id, None)
            self._messages.pop(item_id, None)

    def _open_prompt(self, event: TurnEvent) -> None:
        if self._ask_person:
            self._prompts[event.approval.approval_id] = Prompt(event.approval)
            return
        for line in (*approval_lines(event.approval), answer_hint(event.approval)):
            self.notice(line)

    def _close_prompt(self, event: TurnEvent) -> None:
        resolved = event.approval_resolved
        if self._prompts.pop(resolved.approval_id, None) is not None:
            self.notice(f"that was answered by {resolved.by}")

    def _put_prompt(self) -> None:
        if self._asked:
            return
        if self._live is not None:
            self._live.stop()
            self._live = None
        approval_id, prompt = next(iter(self._prompts.items()))
        if approval_id not in self._introduced:
            self._introduced.add(approval_id)
            for line in approval_lines(prompt.approval):
                self._console.print(Text(line, style="bold"))
            _forget_typed_ahead()
        self._console.print(Text(prompt.text()), end="")
        self._asked = approval_id

    def _changing_part(self) -> Group:
        seconds = time.monotonic() - self._activity.since_s
        frame = _SPINNER[int(time.monotonic() / _FRAME_S) % len(_SPINNER)]
        took = f" · {duration_text(int(seconds))}"
        line = Text(f"{frame} {self._activity.text()}", style="cyan", no_wrap=True)
        # The time is never cut off: it shows that something is still waited for.
        line.truncate(max(1, self._console.width - 1 - len(took)), overflow="ellipsis")
        line.append(took)
        open_text = "".join(text.open_text for text in self._texts.values()) if self._details() else ""
        if not open_text.strip():
            return Group(line)
        # Only as much as fits: what is taller than the screen cannot be taken off it again.
        rows = self._console.render_lines(_markdown(open_text), self._console.options)
        room = max(1, self._console.height - 3)
        tail = [segment for row in rows[-room:] for segment in (*row, Segment.line())]
        return Group(*([Text("")] if self._begun else []), Segments(tail), line)

    def _end(self, turn: Turn) -> None:
        for item_id, text in list(self._texts.items()):
            self._complete(item_id, text.whole)
        self.close()
        if turn.answer.strip() and turn.answer not in self._messages.values():
            self._print_markdown(turn.answer)
        if turn.outcome != OUTCOME_COMPLETED:
            say(f"codexctl: {ended_line(turn)}")
        elif self._details():
            self._console.print(Text(ended_line(turn), style="dim"))


def _markdown(text: str) -> Markdown:
    # No OSC 8 links: the address that a model wrote has to be seen before it is opened.
    return Markdown(strip_controls(text), hyperlinks=False)


def _forget_typed_ahead() -> None:
    # A "y" that was typed before the question was on the screen is no answer to it.
    import termios

    termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
