"""What Claude Code needs of a Messages stream, whatever endpoint answers."""

from __future__ import annotations

import pytest
from codex_gateway.dialect.convert import Dialect
from codex_gateway.dialect.errors import error_answer
from codex_gateway.dialect.neutral import Error, ErrorKind

from tests.support.converting import convert, message_of
from tests.unit.gateway.dialect.test_what_codex_needs import STREAMS


@pytest.mark.parametrize("upstream", list(Dialect))
def test_one_block_at_a_time_one_message_delta_one_message_stop(upstream: Dialect) -> None:
    seen = convert(STREAMS[upstream], upstream, Dialect.MESSAGES)
    message = message_of(seen)
    assert [block["type"] for block in message["content"]] == ["thinking", "text", "tool_use"]
    assert message["content"][0]["thinking"] == "Let me see."
    assert message["content"][2]["input"] == {"command": ["ls"]}
    assert message["stop_reason"] == "tool_use"
    assert message["usage"]["output_tokens"] == 42


@pytest.mark.parametrize("upstream", list(Dialect))
def test_message_start_has_all_its_fields(upstream: Dialect) -> None:
    start = convert(STREAMS[upstream], upstream, Dialect.MESSAGES).events[0]["message"]
    assert start["id"].startswith("msg_")
    assert {key: start[key] for key in ("type", "role", "model", "content", "stop_reason", "stop_sequence")} == {
        "type": "message",
        "role": "assistant",
        "model": "client-model",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    assert {"input_tokens", "output_tokens"} <= set(start["usage"])


@pytest.mark.parametrize(
    ("kind", "status", "word"),
    [
        (ErrorKind.BAD_REQUEST, 400, "invalid_request_error"),
        (ErrorKind.UNAUTHENTICATED, 401, "authentication_error"),
        (ErrorKind.PERMISSION, 403, "permission_error"),
        (ErrorKind.NOT_FOUND, 404, "not_found_error"),
        (ErrorKind.TOO_LARGE, 413, "request_too_large"),
        (ErrorKind.RATE_LIMIT, 429, "rate_limit_error"),
        (ErrorKind.INTERNAL, 500, "api_error"),
        (ErrorKind.OVERLOADED, 529, "overloaded_error"),
    ],
)
def test_errors_have_its_form(kind: ErrorKind, status: int, word: str) -> None:
    given, headers, body = error_answer(Dialect.MESSAGES, 0, Error(kind, "No."))
    assert (given, body) == (status, {"type": "error", "error": {"type": word, "message": "No."}})
    assert headers["content-type"] == "application/json"


def test_a_full_context_window_is_told_in_the_words_that_make_it_compact() -> None:
    error = Error(ErrorKind.CONTEXT_LENGTH, "This model's maximum context length is 8192 tokens.")
    status, _, body = error_answer(Dialect.MESSAGES, 0, error)
    assert status == 400
    assert body["error"]["message"].startswith("prompt is too long")


def test_what_no_wait_cures_is_not_tried_again() -> None:
    _, headers, _ = error_answer(Dialect.MESSAGES, 0, Error(ErrorKind.BILLING, "No credit."))
    assert headers["x-should-retry"] == "false"
