"""Why the model stopped, in Messages' words."""

from __future__ import annotations

from typing import Any, Final, assert_never

from codex_gateway.dialect.neutral import Finished, StopReason

_REASONS: Final = {
    "end_turn": StopReason.END,
    "max_tokens": StopReason.MAX_TOKENS,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "tool_use": StopReason.TOOL_USE,
    "pause_turn": StopReason.PAUSE,
    "refusal": StopReason.REFUSAL,
    "model_context_window_exceeded": StopReason.CONTEXT_WINDOW,
    "compaction": StopReason.COMPACTION,
}


def read_stop(stop_reason: str, stop_sequence: Any) -> Finished:
    """`stop_reason` and `stop_sequence`; an unknown word is an end."""
    reason = _REASONS.get(stop_reason, StopReason.END)
    return Finished(reason, stop_sequence if isinstance(stop_sequence, str) else None, stop_reason)


def refusal_text(stop_details: Any) -> str:
    """What a refusal's details say to a person."""
    explanation = stop_details.get("explanation") if isinstance(stop_details, dict) else None
    return explanation if isinstance(explanation, str) else ""


def write_stop(finished: Finished, refusal: str) -> dict[str, Any] | None:
    """The fields that tell the end; None where the answer is no success, and an error must be told."""
    details = None
    match finished.reason:
        case StopReason.END:
            word = "end_turn"
        case StopReason.MAX_TOKENS:
            word = "max_tokens"
        case StopReason.STOP_SEQUENCE:
            word = "stop_sequence"
        case StopReason.TOOL_USE:
            word = "tool_use"
        case StopReason.PAUSE:
            word = "pause_turn"
        case StopReason.REFUSAL:
            word = "refusal"
            if refusal:
                details = {"type": "refusal", "category": None, "explanation": refusal}
        case StopReason.CONTEXT_WINDOW:
            word = "model_context_window_exceeded"
        case StopReason.COMPACTION:
            word = "compaction"
        case StopReason.INCOMPLETE:
            return None
        case _:
            assert_never(finished.reason)
    sequence = finished.stop_sequence if finished.reason is StopReason.STOP_SEQUENCE else None
    written: dict[str, Any] = {"stop_reason": word, "stop_sequence": sequence}
    if details is not None:
        written["stop_details"] = details
    return written
