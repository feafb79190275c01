"""What to do with a turn that an earlier child or supervisor had, from what the thread kept of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codex_control.v1 import instances_pb2

from codex_supervisor.child.conversation import Turn
from codex_supervisor.child.items import ThreadItem, UserMessageItem
from codex_supervisor.config.turns import OnInterrupted


@dataclass(frozen=True, slots=True)
class Unsent:
    """Codex has no trace of the input: it is sent (again)."""


@dataclass(frozen=True, slots=True)
class StillRuns:
    """The child ran on while nobody listened: the turn is followed. `kept` are the items that are complete.

    `active_turn_id` is what Codex calls it where that is another name: in a review, the reviewer's turn.
    """

    codex_turn_id: str
    kept: Sequence[ThreadItem]
    active_turn_id: str = ""


@dataclass(frozen=True, slots=True)
class Over:
    """Codex had ended the turn: its end is recorded, and nothing is run again."""

    turn: Turn
    kept: Sequence[ThreadItem]


@dataclass(frozen=True, slots=True)
class CutOff:
    """The turn was cut off. `first_turn_id` is where the input stands; the policy decides what follows."""

    first_turn_id: str
    kept: Sequence[ThreadItem]


Finding = Unsent | StillRuns | Over | CutOff


def find_turn(recent: Sequence[Turn], turn_id: str, codex_turn_id: str) -> Finding:
    """Return what became of our turn `turn_id`, whose latest turn inside Codex was `codex_turn_id` as far as known.

    `recent` are the thread's turns with their items, newest first. The one that has our input bears our id as its
    user message's client id. Those right after it that only went on from it have no input, unless it was steered.
    """
    decoded = [(turn, turn.decode_items()) for turn in recent]
    position = next((n for n, (_, items) in enumerate(decoded) if _has_input(items, turn_id)), None)
    if position is None:
        return Unsent()
    run = [decoded[position]]
    for turn, items in reversed(decoded[:position]):
        if _has_any_input(items) and turn.id != codex_turn_id:
            # Somebody asked something else after it: what follows is not ours to judge.
            break
        run.insert(0, (turn, items))
    latest = run[0][0]
    kept = [item for _, items in reversed(run) for item in items]
    match latest.status:
        case "inProgress":
            return StillRuns(latest.id, kept)
        case "completed" | "failed":
            return Over(latest, kept)
        case _:
            return CutOff(decoded[position][0].id, kept)


def _has_input(items: Sequence[ThreadItem], turn_id: str) -> bool:
    return any(isinstance(item, UserMessageItem) and item.client_id == turn_id for item in items)


def _has_any_input(items: Sequence[ThreadItem]) -> bool:
    return any(isinstance(item, UserMessageItem) for item in items)


REVIEW_AGAIN = "Codex cannot go on with a review half way: it is begun again"

ACTIONS: dict[OnInterrupted, tuple[instances_pb2.OnInterrupted, str]] = {
    OnInterrupted.CONTINUE: (
        instances_pb2.ON_INTERRUPTED_CONTINUE,
        "it goes on from what the conversation kept",
    ),
    OnInterrupted.REPLAY: (
        instances_pb2.ON_INTERRUPTED_REPLAY,
        "it is taken back and sent again; changed files stay changed",
    ),
    OnInterrupted.REPORT: (
        instances_pb2.ON_INTERRUPTED_REPORT,
        "it is not carried on, as the instance's policy says",
    ),
}
