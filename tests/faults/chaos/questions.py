"""Prompts, and what each must be answered with: the prompt says all, so that no state is shared between processes."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.model_script import Command, Delay, EndText, Step, Text

KINDS = ("quick", "slow", "command", "commentary", "long", "silent")
"""What the model does before it ends its answer; see `steps_for`."""

_WEIGHTS = (4, 4, 3, 2, 1, 1)
_PROMPT = re.compile(r"chaos question (?P<number>\d+) of kind (?P<kind>[a-z]+)")
# Codex asks the model for a summary of a conversation that has become too long.
_COMPACTION = "CONTEXT CHECKPOINT COMPACTION"
_LONG_WORDS = 20_000


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt."""

    number: int
    kind: str

    @property
    def prompt(self) -> str:
        """What is asked."""
        return f"chaos question {self.number} of kind {self.kind}"

    @property
    def answer(self) -> str:
        """What must be answered."""
        digest = hashlib.sha256(self.prompt.encode()).hexdigest()
        if self.kind == "long":
            return f"answer {self.number}: {f'{digest} ' * (_LONG_WORDS // 65)}"
        return f"answer {self.number}: {' '.join(digest[start : start + 8] for start in range(0, 64, 8))}"


def random_question(number: int, chance: random.Random) -> Question:
    """The `number`th question, of a kind by chance."""
    return Question(number, chance.choices(KINDS, _WEIGHTS)[0])


def question_of(prompt: str) -> Question | None:
    """The question that has this prompt, or None."""
    found = _PROMPT.fullmatch(prompt)
    return Question(int(found["number"]), found["kind"]) if found else None


def steps_for(user_texts: Sequence[str], *, continues: bool) -> tuple[Step, ...]:
    """What the model does for a request in which the user said this, oldest first; `continues` after a command."""
    if user_texts and _COMPACTION in user_texts[-1]:
        return (Text("the conversation in short"),)
    # After a compaction its summary stands behind the question, as if the user had said it.
    questions = (question_of(text) for text in reversed(user_texts))
    question = next((found for found in questions if found is not None), None)
    if question is None:
        return (Text(f"not a question of the chaos: {user_texts[-1:]}"),)
    answer = question.answer
    match question.kind:
        case "slow":
            return (Text(answer, deltas=30, delay_s=0.06),)
        case "command" if not continues:
            # It leaves a process in a session of its own, which must not outlive the child.
            return (Command(f"setsid sleep 30 >/dev/null 2>&1 & sleep 0.4; echo ran {question.number}"),)
        case "commentary" if not continues:
            return (
                Text(f"I look at {question.number} first. ", deltas=5, delay_s=0.02),
                EndText("commentary"),
                Command(f"echo looked at {question.number}"),
            )
        case "long":
            return (Text(answer, deltas=40, delay_s=0.005),)
        case "silent":
            return (Delay(1.0), Text(answer, deltas=1))
        case _:
            return (Text(answer, deltas=8),)
