"""How an answer ended, in Responses' words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from codex_gateway.dialect.chat.errors import read_error_object
from codex_gateway.dialect.neutral import Failed, Finished, StopReason

if TYPE_CHECKING:
    from codex_gateway.dialect.neutral import JsonObject

_REASONS = {
    "max_output_tokens": StopReason.MAX_TOKENS,
    "content_filter": StopReason.REFUSAL,
    # Other makers' words.
    "max_tokens": StopReason.MAX_TOKENS,
    "length": StopReason.MAX_TOKENS,
    "model_context_window_exceeded": StopReason.CONTEXT_WINDOW,
}


def read_end(response: JsonObject, status: str, refused: bool) -> Finished | Failed:
    """The end that a response in a final state tells."""
    match status:
        case "completed":
            return Finished(StopReason.REFUSAL if refused else StopReason.END, None, "completed")
        case "incomplete":
            details: Any = response.get("incomplete_details") or {}
            reason = str(details.get("reason") or "incomplete")
            return Finished(_REASONS.get(reason, StopReason.INCOMPLETE), None, reason)
        case _:
            pass
    error = response.get("error")
    if not error:
        word = "was cancelled" if status == "cancelled" else "failed without saying why"
        error = {"message": f"The endpoint's answer {word}.", "code": "server_error"}
    return Failed(read_error_object(error))


def write_end(finished: Finished) -> tuple[str, str | None]:
    """The `status`, and the reason of `incomplete_details`."""
    match finished.reason:
        case StopReason.END | StopReason.STOP_SEQUENCE | StopReason.TOOL_USE:
            return "completed", None
        case StopReason.REFUSAL:
            # A refusal in words is an answer; what a filter stopped is none.
            stopped = finished.native_reason not in ("refusal", "stop", "completed")
            return ("incomplete", "content_filter") if stopped else ("completed", None)
        case StopReason.MAX_TOKENS | StopReason.CONTEXT_WINDOW:
            return "incomplete", "max_output_tokens"
        case StopReason.PAUSE | StopReason.COMPACTION | StopReason.INCOMPLETE:
            return "incomplete", finished.native_reason or finished.reason.value
        case _:
            assert_never(finished.reason)
