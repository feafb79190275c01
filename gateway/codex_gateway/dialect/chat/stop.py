"""Why the model stopped, in Chat Completions' words."""

from __future__ import annotations

from typing import Any, Final, assert_never

from codex_gateway.dialect.neutral import Error, ErrorKind, Finished, StopReason

_REASONS: Final = {
    "stop": StopReason.END,
    "length": StopReason.MAX_TOKENS,
    "tool_calls": StopReason.TOOL_USE,
    "function_call": StopReason.TOOL_USE,
    "content_filter": StopReason.REFUSAL,
    # Other makers' words.
    "eos": StopReason.END,
    "end_turn": StopReason.END,
    "max_tokens": StopReason.MAX_TOKENS,
    "model_length": StopReason.CONTEXT_WINDOW,
    "tool_use": StopReason.TOOL_USE,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "refusal": StopReason.REFUSAL,
    "safety": StopReason.REFUSAL,
    "sensitive": StopReason.REFUSAL,
    "recitation": StopReason.REFUSAL,
    "blocklist": StopReason.REFUSAL,
    "prohibited_content": StopReason.REFUSAL,
    "spii": StopReason.REFUSAL,
    "max_output_tokens": StopReason.MAX_TOKENS,
    "tool_call": StopReason.TOOL_USE,
    "model_context_window_exceeded": StopReason.CONTEXT_WINDOW,
}
"""OpenAI's words, and those of Mistral, GLM, Gemini, Cohere, TGI and others."""

_FAILURES: Final = {
    "error": ErrorKind.INTERNAL,
    # DeepSeek, GLM, then vLLM and SGLang.
    "insufficient_system_resource": ErrorKind.OVERLOADED,
    "network_error": ErrorKind.UNAVAILABLE,
    "abort": ErrorKind.UNAVAILABLE,
    # Gemini: the model wrote a call that cannot be read.
    "function_call_filter": ErrorKind.INTERNAL,
    "malformed_function_call": ErrorKind.INTERNAL,
}
"""Ends that are no success, whatever was said before."""


def _word(finish_reason: str) -> str:
    """Gemini adds what it found: `content_filter: PROHIBITED_CONTENT`."""
    return finish_reason.partition(":")[0].strip().lower()


def read_failure(finish_reason: str) -> Error | None:
    """The error that a `finish_reason` tells; None where it tells none."""
    kind = _FAILURES.get(_word(finish_reason))
    if kind is None:
        return None
    return Error(kind, f"The endpoint ended its answer with an error ({finish_reason[:80]}).", code=finish_reason[:80])


def read_stop(finish_reason: str, stop_reason: Any, refused: bool) -> Finished:
    """`finish_reason` of a choice; vLLM's `stop_reason` beside it names the stop sequence. Unknown words are an end."""
    reason = _REASONS.get(_word(finish_reason), StopReason.END)
    if reason is StopReason.END and isinstance(stop_reason, str) and stop_reason:
        return Finished(StopReason.STOP_SEQUENCE, stop_reason, finish_reason)
    if reason is StopReason.END and refused:
        reason = StopReason.REFUSAL
    return Finished(reason, None, finish_reason)


def write_stop(finished: Finished, refused: bool) -> str | None:
    """`finish_reason`; None where the answer is no success, but an error. `refused`: it holds a refusal."""
    match finished.reason:
        case StopReason.END | StopReason.STOP_SEQUENCE:
            return "stop"
        case StopReason.MAX_TOKENS | StopReason.CONTEXT_WINDOW | StopReason.PAUSE | StopReason.COMPACTION:
            return "length"
        case StopReason.TOOL_USE:
            return "tool_calls"
        case StopReason.REFUSAL:
            # OpenAI's models refuse in words and stop; others are stopped.
            in_words = refused and finished.native_reason in ("stop", "completed")
            return "stop" if in_words else "content_filter"
        case StopReason.INCOMPLETE:
            return None
        case _:
            assert_never(finished.reason)
