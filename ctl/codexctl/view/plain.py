"""A turn in a pipe: stdout gets the final answer and nothing else, stderr what is told about it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from codex_control.safe_text import strip_controls
from codex_control.v1.outcome_pb2 import OUTCOME_COMPLETED
from codex_control.v1.turns_pb2 import Turn, TurnEvent

from codexctl.output import say
from codexctl.view.lines import answer_hint, approval_lines, detail_line, ended_line, notice_line

COMMENTARY = "commentary"


class PlainView:
    """Shows events as lines. `details` says whether commands, files and commentary are told too.

    With `stream`, the answer's text is written as it comes, also text that is void later; without, stdout stays empty
    until the turn completed.
    """

    def __init__(self, details: Callable[[], bool], *, stream: bool = False) -> None:
        self._details = details
        self._stream = stream
        self._streamed_item = ""
        self._streamed = ""
        self._reasoning = ""

    def show(self, event: TurnEvent) -> None:
        """Tell what there is to tell about `event`."""
        kind = event.WhichOneof("event")
        if kind != "reasoning":
            self._end_reasoning()
        if notice := notice_line(event):
            say(notice)
        match kind:
            case "reasoning":
                self._reasoning += event.reasoning.text
            case "text" if self._stream:
                self._write_piece(event.text.item_id, event.text.text)
            case "message" if event.message.phase == COMMENTARY and not self._stream and self._details():
                say(event.message.text)
            case "approval":
                for line in (*approval_lines(event.approval), answer_hint(event.approval)):
                    say(line)
            case "ended":
                self._end(event.ended.turn)
            case _:
                detail = detail_line(event)
                if detail and self._details():
                    say(detail)

    def _end_reasoning(self) -> None:
        if self._reasoning:
            say("reasoning: " + self._reasoning.strip())
            self._reasoning = ""

    def _write_piece(self, item_id: str, text: str) -> None:
        if item_id != self._streamed_item:
            if self._streamed and not self._streamed.endswith("\n"):
                sys.stdout.write("\n")
            self._streamed_item, self._streamed = item_id, ""
        self._streamed += text
        sys.stdout.write(text)
        sys.stdout.flush()

    def _end(self, turn: Turn) -> None:
        if self._streamed and not self._streamed.endswith("\n"):
            sys.stdout.write("\n")
        if turn.outcome == OUTCOME_COMPLETED:
            if self._streamed and self._streamed.strip() != turn.answer.strip():
                say("the streamed text is not the final answer: the answer follows")
                self._streamed = ""
            if not self._streamed:
                sys.stdout.write(turn.answer if turn.answer.endswith("\n") else turn.answer + "\n")
            sys.stdout.flush()
            return
        if turn.answer and not self._streamed:
            say("the answer so far, incomplete:")
            say("\n".join("    " + line for line in strip_controls(turn.answer).splitlines()))
        say(f"codexctl: {ended_line(turn)}")
