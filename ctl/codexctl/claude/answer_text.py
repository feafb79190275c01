"""What came of a turn, as text for a person in Claude Code or for its model."""

from __future__ import annotations

from codex_control.errors import CodexError
from codex_control.safe_text import duration_text, one_line, strip_controls
from codex_control.v1.outcome_pb2 import OUTCOME_COMPLETED
from codex_control.v1.turns_pb2 import Turn, TurnEvent

from codexctl.view.lines import command_text, ended_line, file_text, notice_line

# What is shown below an answer; the turn's record has all.
_MOST_LINES = 20


class Notices:
    """What the person has to see whatever the settings are: deaths and what is done about them, warnings."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def take(self, event: TurnEvent) -> None:
        """Keep what `event` has to say."""
        if (line := notice_line(event)) and line not in self._lines and len(self._lines) < _MOST_LINES:
            self._lines.append(line)

    def lines(self) -> list[str]:
        """What was said, oldest first."""
        return list(self._lines)


def turn_text(turn: Turn, notices: list[str], *, final_only: bool) -> str:
    """The ended turn: its answer first. Ids, commands, files and tokens follow unless `final_only`.

    A turn that did not complete is told with its ids in any case: there is something to look for.
    """
    parts = [*notices]
    if turn.reasoning:
        parts += [f"reasoning: {strip_controls(turn.reasoning).strip()}", ""]
    if turn.outcome == OUTCOME_COMPLETED:
        parts.append(strip_controls(turn.answer).strip("\n") or "(Codex completed the turn without an answer)")
        if final_only:
            return "\n".join(parts)
    else:
        parts.append(f"No answer from Codex: {ended_line(turn)}")
        if turn.answer:
            parts += ["its text so far, incomplete:", *_indented(turn.answer)]
    parts += ["", f"— {source_line(turn)} · {ended_line(turn) if turn.outcome == OUTCOME_COMPLETED else 'no answer'}"]
    parts += _shortened([f"  ran: {command_text(command)}" for command in turn.commands])
    parts += _shortened(list(dict.fromkeys(f"  {file_text(change)}" for change in turn.files)))
    return "\n".join(parts)


def source_line(turn: Turn) -> str:
    """Whose words an answer is, and where it is found again."""
    return f"Codex · instance {turn.instance} · turn {turn.id}"


def late_text(turn_id: str, waited_s: float) -> str:
    """What is said of a turn that takes longer than a hook or a tool may."""
    return (
        f"Codex still works after {duration_text(int(waited_s))}; its turn {turn_id} goes on, and nothing is lost.\n"
        f"Fetch the answer with: codexctl attach {turn_id}"
    )


def error_text(error: CodexError) -> str:
    """An error as one sentence, and what to do on a line of its own."""
    sentence = one_line(f"{error.what}: {error.why}" if error.why else error.what, 2000).rstrip(".")
    return f"{sentence}.\n{one_line(error.next_step, 2000)}" if error.next_step else f"{sentence}."


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - _MOST_LINES
    return [*lines[:_MOST_LINES], f"  … and {more} more"] if more > 0 else lines


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in strip_controls(text).splitlines()]
