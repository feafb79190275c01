"""The conversation with a person about one approval: pure, one line in, the next prompt or the decision out."""

from __future__ import annotations

from dataclasses import dataclass, field

from codex_control.safe_text import make_visible, one_line
from codex_control.v1.turns_pb2 import (
    APPROVAL_KIND_QUESTION,
    DECISION_ACCEPT,
    DECISION_ACCEPT_FOR_SESSION,
    DECISION_CANCEL,
    DECISION_DECLINE,
    ApprovalRequested,
    Decision,
    Question,
    RespondRequest,
)

_DECISIONS: dict[str, Decision] = {
    "y": DECISION_ACCEPT,
    "yes": DECISION_ACCEPT,
    "n": DECISION_DECLINE,
    "no": DECISION_DECLINE,
    "a": DECISION_ACCEPT_FOR_SESSION,
    "always": DECISION_ACCEPT_FOR_SESSION,
    "c": DECISION_CANCEL,
    "cancel": DECISION_CANCEL,
}


@dataclass
class Prompt:
    """One approval that a person is asked about. Questions are asked one after the other."""

    approval: ApprovalRequested
    _answers: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """What is shown before the cursor."""
        question = self._open_question()
        if question is None:
            return "allow? [y]es, [n]o, [a]lways (until the child ends), [c]ancel the turn: "
        lines = [one_line(make_visible(question.text), 500)]
        lines += [f"  {number}) {make_visible(option)}" for number, option in enumerate(question.options, 1)]
        how = f"1-{len(question.options)} or text" if question.options else "text"
        return "\n".join([*lines, f"your answer ({how}; an empty line declines): "])

    def take(self, line: str | None) -> RespondRequest | None:
        """Take one line (None: end of input); the response when it is complete, None to ask on."""
        question = self._open_question()
        if line is None:
            return self._respond(DECISION_DECLINE)
        line = line.strip()
        if question is None:
            decision = _DECISIONS.get(line.lower())
            return None if decision is None else self._respond(decision)
        if not line:
            return self._respond(DECISION_DECLINE)
        chosen = line
        if line.isascii() and line.isdigit() and 0 < int(line) <= len(question.options):
            chosen = question.options[int(line) - 1]
        self._answers[question.id] = chosen
        return self._respond(DECISION_ACCEPT) if self._open_question() is None else None

    def _open_question(self) -> Question | None:
        if self.approval.kind != APPROVAL_KIND_QUESTION:
            return None
        return next((question for question in self.approval.questions if question.id not in self._answers), None)

    def _respond(self, decision: Decision) -> RespondRequest:
        answers = self._answers if decision == DECISION_ACCEPT else {}
        return RespondRequest(approval_id=self.approval.approval_id, decision=decision, answers=answers)
