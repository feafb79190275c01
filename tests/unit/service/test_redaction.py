"""Secrets do not get into the log."""

from __future__ import annotations

import time

import pytest
from codex_control.service.redaction import REDACTED, redact, redact_value

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("key sk-proj-abcdefgh12345678 end", "sk-proj-abcdefgh12345678"),
        ("sk-ant-api03-abcdefghijk", "abcdefghijk"),
        ("Authorization: Bearer abcdef123456", "abcdef123456"),
        ("authorization: basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("OPENAI_API_KEY=whatever123 next", "whatever123"),
        ('{"access_token": "abcd1234", "n": 1}', "abcd1234"),
        ("password='hunter22'", "hunter22"),
        (f"got {JWT}.", JWT),
        ("https://me:hunter22@example.org/x", "hunter22"),
        ("ghp_abcdefgh12345678", "ghp_abcdefgh"),
        ("AKIAABCDEFGHIJKLMNOP", "AKIAABCD"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out(text: str, secret: str) -> None:
    assert secret not in redact(text)
    assert REDACTED in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "tokens: 1234 used",
        "state_changed",
        "/home/me/task-sk-list",
        "the secretary wrote",
        "a key: value pair",
        "risk-free",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("name", ["token", "api_key", "Authorization", "OPENAI_API_KEY", "client-secret", "cookie"])
def test_a_field_is_judged_by_its_name(name: str) -> None:
    assert redact_value(name, "anything") == REDACTED


def test_numbers_and_nested_values() -> None:
    assert redact_value("tokens", 5) == 5
    assert redact_value("request", {"token": "x", "list": ["sk-abcdefghijkl", 3]}) == {
        "token": REDACTED,
        "list": [REDACTED, 3],
    }


def test_a_long_text_is_searched_in_linear_time() -> None:
    for piece in ("a", "sk-", "eyJ", "://a:", "Bearer ", "token", "password = "):
        started = time.process_time()
        redact(piece * (200_000 // len(piece)))
        assert time.process_time() - started < 2, piece
