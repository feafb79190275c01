"""The account of one turn: its moments, the record of its end, and what it adds to the metrics."""

from __future__ import annotations

import logging

from codex_control.service.clock import Clock

from codex_supervisor.child.processes import boot_id
from codex_supervisor.house import House
from codex_supervisor.store.records import Cause, Outcome, TurnEnd, TurnRecord
from codex_supervisor.turn.draft import Draft

_log = logging.getLogger(__name__)


class Account:
    """When what happened to a turn, on the monotonic clock; None for what has not."""

    def __init__(self, record: TurnRecord, house: House) -> None:
        self._turn = record.id
        self._instance = record.instance
        self._house = house
        self.accepted_at = _accepted_at(record, house.clock)
        self._sent_at = (
            None if record.sent_ns is None else self.accepted_at + (record.sent_ns - record.accepted_ns) / 1e9
        )
        self._first_event_at: float | None = None
        self._first_text_at: float | None = None

    def sent(self) -> None:
        """Note that it goes to Codex; only the first time counts."""
        self._sent_at = self._sent_at or self._house.clock.monotonic()

    def told(self) -> None:
        """Note that its followers are told something."""
        self._first_event_at = self._first_event_at or self._house.clock.monotonic()

    def told_text(self) -> None:
        """Note that there is text of an answer."""
        self._first_text_at = self._first_text_at or self._house.clock.monotonic()

    def close(self, draft: Draft, outcome: Outcome, cause: Cause | None, error: str) -> TurnEnd:
        """Return the record of its end; an answer over the limit is cut, and fails it."""
        answer = draft.answer()
        limit = self._house.config.turns.answer_limit
        encoded = answer.encode(errors="replace")
        if len(encoded) > limit:
            answer = encoded[:limit].decode(errors="ignore")
            outcome, cause = Outcome.FAILED, Cause.LIMIT
            error = f"the answer has {len(encoded):,} bytes; the first {limit:,} are kept (turns.answer_limit)"
        return TurnEnd(
            outcome=outcome,
            cause=cause,
            error=error,
            answer=answer,
            reasoning=draft.reasoning(),
            usage=draft.usage,
            commands=tuple(draft.commands.values()),
            files=tuple(draft.files.values()),
            ended_ns=self._house.clock.wall_ns(),
            queued_s=self._since_accepted(self._sent_at),
            first_event_s=self._since_accepted(self._first_event_at),
            first_text_s=self._since_accepted(self._first_text_at),
            total_s=self._house.clock.monotonic() - self.accepted_at,
        )

    def count(self, end: TurnEnd) -> None:
        """Add its end, which is recorded, to the metrics, the traces and the log."""
        if self._house.tracing is not None:
            self._house.tracing.turn_ended(self._turn)
        self._house.metrics.turn_ended(
            end.outcome,
            end.cause,
            end.usage,
            total_s=end.total_s,
            queued_s=end.queued_s,
            first_event_s=self._since_sent(self._first_event_at),
            first_text_s=self._since_sent(self._first_text_at),
        )
        _log.info(
            "turn_ended",
            extra={
                "instance": self._instance,
                "turn": self._turn,
                "outcome": end.outcome.value,
                "cause": end.cause.value if end.cause else "",
                "total_s": round(end.total_s, 3),
            },
        )

    def count_decision(self, decision: str, by: str) -> None:
        """Add the answer to one of Codex's requests to the metrics and the log."""
        label = {"acceptForSession": "accept_for_session"}.get(decision, decision)
        by_label = by.replace(" ", "_")
        self._house.metrics.approvals.labels(decision=label, by=by_label).inc()
        _log.info(
            "approval_answered",
            # Not what it was about: commands are the person's own.
            extra={"instance": self._instance, "turn": self._turn, "decision": label, "by": by_label},
        )

    def _since_accepted(self, moment: float | None) -> float | None:
        return None if moment is None else moment - self.accepted_at

    def _since_sent(self, moment: float | None) -> float | None:
        return None if moment is None or self._sent_at is None else moment - self._sent_at


def _accepted_at(record: TurnRecord, clock: Clock) -> float:
    """Return when the turn was accepted, on the monotonic clock."""
    moment = record.request.accepted
    if moment is not None and moment.boot_id == boot_id():
        return moment.monotonic_s
    # The machine was started anew since: the wall clock is all that there is, and it may have jumped.
    return clock.monotonic() - max(0.0, (clock.wall_ns() - record.accepted_ns) / 1e9)
