"""From how a turn ended to its outcome, cause and a sentence with the way out. Pure."""

from __future__ import annotations

from codex_supervisor.child.conversation import Turn, TurnError
from codex_supervisor.store.records import Cause, Outcome
from codex_supervisor.turn.draft import Draft

Verdict = tuple[Outcome, Cause | None, str]
"""Outcome, cause, and a sentence about it; empty where all went well."""

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
    "unauthorized": (Cause.AUTH, "run `{codex} login`, or check the provider's key"),
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


def cause_of(error: TurnError, codex: str = "codex") -> tuple[Cause, str]:
    """Return the cause of a failed turn and what to do about it; `codex` is what a person calls Codex by.

    The message decides where Codex's word says nothing: the HTTP status code stands in its text.
    """
    cause, next_step = _cause_of(error)
    return cause, next_step.replace("{codex}", codex)


def _cause_of(error: TurnError) -> tuple[Cause, str]:
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


def outcome_of(turn: Turn, draft: Draft, ending: Cause | None, codex: str = "codex") -> Verdict:
    """Return what becomes of a turn that Codex has ended; `ending` is why we wanted that, where we did.

    `codex`: see `cause_of`.
    """
    match turn.status:
        case "completed" if draft.review and not draft.answer():
            return Outcome.FAILED, Cause.CODEX, "the reviewer said nothing; ask again"
        case "completed":
            return Outcome.COMPLETED, None, ""
        case "failed":
            error = turn.error or draft.last_error
            if error is None:
                return Outcome.FAILED, Cause.CODEX, "Codex gave no reason; run `codexctl doctor`"
            cause, next_step = cause_of(error, codex)
            return Outcome.FAILED, cause, f"{error.message.rstrip('.')}; {next_step}"
        case _ if ending is not None:
            return outcome_for(ending)
        case _:
            return Outcome.CANCELLED, Cause.USER, "the turn was interrupted inside Codex"


def outcome_for(ending: Cause) -> Verdict:
    """Return what becomes of a turn that was ended on purpose, for `ending`."""
    match ending:
        case Cause.USER:
            return Outcome.CANCELLED, ending, "it was interrupted on request"
        case Cause.TIMED_OUT:
            return Outcome.FAILED, ending, "its time limit passed; give more with --timeout or turns.timeout"
        case Cause.STALLED:
            return Outcome.FAILED, ending, "it gave no sign of life for turns.stall_after; ask again"
        case Cause.LIMIT:
            return Outcome.FAILED, ending, "the answer is longer than turns.answer_limit; raise it or ask for less"
        case _:
            return Outcome.FAILED, ending, f"it was ended: {ending.value}"
