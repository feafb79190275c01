"""Errors of HTTP answers: read from any common shape, written in each dialect, with what makes clients wait."""

from __future__ import annotations

import json

import pytest
from codex_gateway.dialect.convert import Dialect, Error, error_answer, read_error
from codex_gateway.dialect.neutral import ErrorKind


@pytest.mark.parametrize(
    ("dialect", "status", "body", "kind", "message"),
    [
        (
            Dialect.MESSAGES,
            529,
            {"type": "error", "error": {"type": "overloaded_error", "message": "Full"}},
            ErrorKind.OVERLOADED,
            "Full",
        ),
        (
            Dialect.MESSAGES,
            400,
            {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}},
            ErrorKind.BILLING,
            "credit",
        ),
        (
            Dialect.MESSAGES,
            400,
            {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}},
            ErrorKind.CONTEXT_LENGTH,
            "long",
        ),
        (
            Dialect.MESSAGES,
            400,
            {"error": {"type": "invalid_request_error", "message": "max_tokens: required"}},
            ErrorKind.BAD_REQUEST,
            "required",
        ),
        (
            Dialect.CHAT,
            429,
            {
                "error": {
                    "message": "Rate limit. Please try again in 20s.",
                    "type": "requests",
                    "code": "rate_limit_exceeded",
                }
            },
            ErrorKind.RATE_LIMIT,
            "20s",
        ),
        (
            Dialect.CHAT,
            429,
            {
                "error": {
                    "message": "You exceeded your current quota",
                    "type": "insufficient_quota",
                    "code": "insufficient_quota",
                }
            },
            ErrorKind.BILLING,
            "quota",
        ),
        (
            Dialect.CHAT,
            400,
            {"error": {"message": "long", "type": "invalid_request_error", "code": "context_length_exceeded"}},
            ErrorKind.CONTEXT_LENGTH,
            "long",
        ),
        (
            Dialect.CHAT,
            404,
            {"error": {"message": "no model", "code": "model_not_found"}},
            ErrorKind.NOT_FOUND,
            "no model",
        ),
        (Dialect.CHAT, 401, {"error": "Unauthorized"}, ErrorKind.UNAUTHENTICATED, "Unauthorized"),
        (
            Dialect.CHAT,
            422,
            {"detail": [{"loc": ["body", "top_k"], "msg": "extra field"}]},
            ErrorKind.BAD_REQUEST,
            "top_k",
        ),
        (Dialect.CHAT, 404, {"detail": "Not Found"}, ErrorKind.NOT_FOUND, "Not Found"),
        (
            Dialect.CHAT,
            400,
            [{"error": {"code": 400, "message": "API key not valid", "status": "INVALID"}}],
            ErrorKind.BAD_REQUEST,
            "API key",
        ),
        (Dialect.CHAT, 402, {"error": {"message": "Insufficient Balance"}}, ErrorKind.BILLING, "Balance"),
        (Dialect.CHAT, 502, {"error": {"message": "Bad gateway"}}, ErrorKind.UNAVAILABLE, "Bad"),
        (Dialect.RESPONSES, 500, {"error": {"message": "Oops", "type": "server_error"}}, ErrorKind.INTERNAL, "Oops"),
        (
            Dialect.RESPONSES,
            400,
            {"object": "error", "message": "bad", "type": "BadRequestError"},
            ErrorKind.BAD_REQUEST,
            "bad",
        ),
    ],
)
def test_bodies_of_every_common_shape(
    dialect: Dialect, status: int, body: object, kind: ErrorKind, message: str
) -> None:
    error = read_error(dialect, status, {}, json.dumps(body).encode())
    assert (error.kind, error.status) == (kind, status)
    assert message in error.message


@pytest.mark.parametrize("body", [b"", b"<html><h1>502 Bad Gateway</h1></html>", b"\xff\xfe", b"[]", b"7"])
def test_a_body_without_json_is_an_error_all_the_same(body: bytes) -> None:
    error = read_error(Dialect.CHAT, 502, {}, body)
    assert error.kind is ErrorKind.UNAVAILABLE
    assert "502" in error.message
    assert "<html>" not in error.message


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "20"}, 20.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({}, None),
    ],
)
def test_waits_are_read_from_headers(headers: dict[str, str], wait_s: float | None) -> None:
    body = b'{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}'
    assert read_error(Dialect.CHAT, 429, headers, body).retry_after_s == wait_s


@pytest.mark.parametrize(
    ("message", "wait_s"),
    [("try again in 20s", 20.0), ("try again in 350ms.", 0.35), ("Please try again in 1m30.5s", 90.5), ("no", None)],
)
def test_waits_are_read_from_messages(message: str, wait_s: float | None) -> None:
    body = json.dumps({"error": {"message": message, "code": "rate_limit_exceeded"}}).encode()
    assert read_error(Dialect.CHAT, 429, {}, body).retry_after_s == wait_s


@pytest.mark.parametrize("dialect", list(Dialect))
def test_waits_are_handed_on(dialect: Dialect) -> None:
    status, headers, _ = error_answer(dialect, 0, Error(ErrorKind.RATE_LIMIT, "Slow.", retry_after_s=1.25))
    assert status == 429
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1250")


def test_openai_errors_have_their_form() -> None:
    error = Error(ErrorKind.BAD_REQUEST, "No.", param="top_k", request_id="req_1")
    for dialect in (Dialect.CHAT, Dialect.RESPONSES):
        status, headers, body = error_answer(dialect, 422, error)
        assert status == 422
        assert headers["x-request-id"] == "req_1"
        assert body["error"] == {"message": "No.", "type": "invalid_request_error", "param": "top_k", "code": None}


@pytest.mark.parametrize("upstream", list(Dialect))
@pytest.mark.parametrize("client", list(Dialect))
@pytest.mark.parametrize("kind", list(ErrorKind))
def test_every_kind_survives_the_way_through_any_dialect(upstream: Dialect, client: Dialect, kind: ErrorKind) -> None:
    status, _, body = error_answer(upstream, 0, Error(kind, "Something."))
    read = read_error(upstream, status, {}, json.dumps(body).encode())
    # Anthropic has one word for an endpoint that broke and one that could not be reached.
    assert read.kind is kind or {read.kind, kind} == {ErrorKind.INTERNAL, ErrorKind.UNAVAILABLE}
    assert error_answer(client, 0, read)[0] >= 400
