"""From Codex's errors to causes and the way out."""

from __future__ import annotations

from typing import Any

import pytest
from codex_supervisor.child.conversation import TurnError
from codex_supervisor.store.records import Cause
from codex_supervisor.turn.outcome import _CAUSES, cause_of

from tests.support.codex_schema import CodexSchema


@pytest.mark.parametrize(
    ("message", "info", "cause", "way_out"),
    [
        ("You've hit your usage limit", "usageLimitExceeded", Cause.QUOTA, "limit is reset"),
        ("too long", "contextWindowExceeded", Cause.CONTEXT_WINDOW, "new instance"),
        ("overloaded", "serverOverloaded", Cause.PROVIDER, "again"),
        ("no key", "unauthorized", Cause.AUTH, "codex login"),
        ("refused", "cyberPolicy", Cause.REFUSED, "rephrase"),
        ("no such model", "badRequest", Cause.CODEX, "model's name"),
        ("no network", {"httpConnectionFailed": {"httpStatusCode": None}}, Cause.PROVIDER, "network"),
        ("broke off", {"responseStreamDisconnected": {"httpStatusCode": None}}, Cause.PROVIDER, "network"),
        ("Missing environment variable: `KEY`.", "other", Cause.AUTH, "environment of the service"),
        # The status says more than the word.
        ("failed", {"httpConnectionFailed": {"httpStatusCode": 401}}, Cause.AUTH, "codex login"),
        ("failed", {"responseTooManyFailedAttempts": {"httpStatusCode": 429}}, Cause.QUOTA, "wait a moment"),
        ("failed", {"httpConnectionFailed": {"httpStatusCode": 503}}, Cause.PROVIDER, "in a while"),
        # The word says nothing: the text does.
        ("unexpected status 401 Unauthorized: no key", "other", Cause.AUTH, "codex login"),
        ("unexpected status 429 Too Many Requests", "other", Cause.QUOTA, "wait a moment"),
        ("unexpected status 403 Forbidden", None, Cause.AUTH, "codex login"),
        ("unexpected status 418 I'm a teapot", "other", Cause.PROVIDER, "doctor"),
        ("???", None, Cause.PROVIDER, "doctor"),
        ("???", "aWordOfTomorrow", Cause.PROVIDER, "doctor"),
        ("???", {"aWordOfTomorrow": "with text"}, Cause.PROVIDER, "doctor"),
        ("???", {}, Cause.PROVIDER, "doctor"),
        ("???", {"httpConnectionFailed": {"httpStatusCode": "401"}}, Cause.PROVIDER, "network"),
    ],
)
def test_cause_of(message: str, info: str | dict[str, Any] | None, cause: Cause, way_out: str) -> None:
    found, next_step = cause_of(TurnError(message=message, codex_error_info=info))
    assert found is cause
    assert way_out in next_step


def test_a_codex_that_is_not_on_path_is_named_whole() -> None:
    assert cause_of(TurnError("no key", "unauthorized"), "/venv/bin/codex")[1].startswith("run `/venv/bin/codex login`")


def test_every_word_of_the_installed_codex_is_known(codex_schema: CodexSchema) -> None:
    branches = codex_schema.type("CodexErrorInfo")["anyOf"]
    words = {word for branch in branches for word in [*branch.get("enum", []), *branch.get("required", [])]}
    # The first says nothing, and the second answers a request to steer and ends no turn.
    assert words - set(_CAUSES) == {"other", "activeTurnNotSteerable"}
    assert set(_CAUSES) <= words, "words that this Codex does not send"
