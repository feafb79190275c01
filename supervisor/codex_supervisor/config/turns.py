"""The sections `turns` and `approvals`: limits of turns, and who answers when Codex asks."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
from codex_control.service.config_key import Applies, Bytes, Seconds, count, duration, size, text
from codex_control.service.units import DAY, GIB, HOUR, KIB, MIB, MINUTE


class ApprovalPolicy(enum.StrEnum):
    """Who answers when Codex asks for leave or puts a question."""

    AUTO = "auto"
    """Everything is accepted at once."""
    INTERACTIVE = "interactive"
    """The person who is attached answers; without one, or past the time limit, it is denied."""
    DENY = "deny"
    """Everything is denied at once."""


class OnInterrupted(enum.StrEnum):
    """What happens to a turn whose child died under it."""

    CONTINUE = "continue"
    """It goes on from what the thread kept."""
    REPLAY = "replay"
    """It is taken back and sent again from its beginning; changes to files stay."""
    REPORT = "report"
    """It ends as interrupted, with a report of what it had done."""


class OnStall(enum.StrEnum):
    """What happens to a turn that has given no sign of life for `stall_after`."""

    REPORT = "report"
    """The people attached are warned; the turn goes on until its time limit."""
    INTERRUPT = "interrupt"
    """The turn ends as failed with the cause `stalled`."""


class TurnsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of turns, and what happens to those that cannot go on."""

    timeout: Annotated[
        Seconds,
        duration(
            "Time limit of a turn from its acceptance, where the request has none.",
            1,
            7 * DAY,
            applies=Applies.NEW_TURNS,
        ),
    ] = 2 * HOUR
    queue_limit: Annotated[
        int, count("Most turns that wait behind the running one of an instance; one more is refused.", 0, 10_000)
    ] = 32
    prompt_limit: Annotated[
        int,
        # Codex answers -32602 `input_too_large` above 1,048,576 characters; a replay must fit as well.
        count("Most characters of a prompt. Codex itself refuses more than 1,048,576.", 1, 1_048_576),
    ] = 1_000_000
    answer_limit: Annotated[
        Bytes,
        size("Largest answer; a turn that passes it ends with the cause `limit`.", KIB, GIB, applies=Applies.NEW_TURNS),
    ] = 16 * MIB
    recorded_output_limit: Annotated[
        Bytes,
        size(
            "Most bytes of events recorded for one turn; past it deltas and command output are dropped, and counted.",
            64 * KIB,
            4 * GIB,
            applies=Applies.NEW_TURNS,
        ),
    ] = 64 * MIB
    buffer: Annotated[
        Bytes,
        size(
            "Most bytes of events held in memory for one client of a running turn; a slower one is served from the "
            "journal.",
            4 * KIB,
            64 * MIB,
            applies=Applies.NEW_TURNS,
        ),
    ] = 256 * KIB
    stall_after: Annotated[
        Seconds, duration("A running turn without any event for this long is stalled.", 1, 7 * DAY, zero_means="never")
    ] = 10 * MINUTE
    on_stall: Annotated[OnStall, text("What happens to a stalled turn.")] = OnStall.REPORT
    on_interrupted: Annotated[
        OnInterrupted, text("What happens to a turn whose child died, where its instance has no setting of its own.")
    ] = OnInterrupted.CONTINUE
    max_recoveries: Annotated[
        int, count("Most times that one turn is carried on after a death; then it ends as interrupted.", 0, 100)
    ] = 3


class ApprovalsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Codex asks for leave."""

    policy: Annotated[ApprovalPolicy, text("Who answers, where the instance has no setting of its own.")] = (
        ApprovalPolicy.INTERACTIVE
    )
    timeout: Annotated[Seconds, duration("Time that a person gets to answer; then it is denied.", 1, DAY)] = 5 * MINUTE
