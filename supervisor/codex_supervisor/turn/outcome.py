"""From Codex's errors to outcomes, causes and a sentence with the way out. Pure."""

from __future__ import annotations

from codex_supervisor.child.conversation import TurnError
from codex_supervisor.store.records import Cause

# Codex's `codexErrorInfo` is a word, or an object with one key: the word. Source: the JSON schema that
# `codex app-server generate-json-schema` writes (CodexErrorInfo).
_CAUSES: dict[str, tuple[Cause, str]] = {
    "contextWindowExceeded": (Cause.CONTEXT_WINDOW, "ask in a new instance, or shorten the conversation"),
    "sessionBudgetExceeded": (Cause.QUOTA, "raise the session's budget in Codex's settings"),
    "usageLimitExceeded": (Cause.QUOTA, "wait until the limit is reset, or use another model or account"),
    "rateLimitExceeded": (Cause.QUOTA, "wait a moment and ask again"),
    "flexUnavailable": (Cause.PROVIDER, "ask again, or choose another service tier"),
    "serverOverloaded": (Cause.PROVIDER, "ask again in a while"),
    "internalServerError": (Cause.PROVIDER, "ask again in a while"),
    "httpConnectionFailed": (Cause.PROVIDER, "check the network and the provider's address"),
    "responseStreamConnectionFailed": (Cause.PROVIDER, "check the network and the provider's address"),
    "responseStreamDisconnected": (Cause.PROVIDER, "ask again; check the network if it comes back"),
    "responseTooManyFailedAttempts": (Cause.PROVIDER, "ask again in a while"),
    "unauthorized": (Cause.AUTH, "run `codex login`, or check the provider's key"),
    "cyberPolicy": (Cause.REFUSED, "rephrase the request"),
    "misalignmentPolicyViolation": (Cause.REFUSED, "rephrase the request"),
    "tooManyDenials": (Cause.REFUSED, "allow what Codex asks for, or choose another approval policy"),
    "badRequest": (Cause.CODEX, "check the model's name and the profile"),
    "sandboxError": (Cause.CODEX, "run `codexctl doctor` to check the sandbox"),
    "threadRollbackFailed": (Cause.CODEX, "ask again in a new instance"),
}

# HTTP status codes that say more than Codex's word does.
_STATUS_CAUSES = {
    401: "unauthorized",
    403: "unauthorized",
    429: "rateLimitExceeded",
    500: "internalServerError",
    502: "serverOverloaded",
    503: "serverOverloaded",
    504: "serverOverloaded",
    529: "serverOverloaded",
}


def cause_of(error: TurnError) -> tuple[Cause, str]:
    """Return the cause of a failed turn and what to do about it.

    The message decides where Codex's word says nothing: the HTTP status code stands in its text.
    """
    word = _STATUS_CAUSES.get(error.http_status or 0, error.kind)
    known = _CAUSES.get(word)
    if known is not None:
        return known
    if "environment variable" in error.message:
        # The provider's `env_key`; Codex has no word for it.
        return Cause.AUTH, "set it in the environment of the service, then restart the instance"
    for status, better in _STATUS_CAUSES.items():
        if f"status {status}" in error.message:
            return _CAUSES[better]
    return Cause.PROVIDER, "run `codexctl doctor` and look at `codexctl logs --stderr`"
