"""The error root and the one table from errors to gRPC status codes and exit codes.

An error says three things: what happened, why, and what to do next. They travel as the metadata of a
`google.rpc.ErrorInfo` (keys `what`, `why`, `next`), whose `reason` is the class's `reason` and whose domain is
`ERROR_DOMAIN`. This module imports no grpc: `codexctl --help` needs it.
"""

from __future__ import annotations

import enum
from typing import ClassVar

ERROR_DOMAIN = "codex-supervisor"


class Exit(enum.IntEnum):
    """Exit codes of `codexctl` and `codex-supervisor`."""

    OK = 0
    """Done; an ask completed."""
    FAILED = 1
    """The turn or the task failed, or an error that has no code of its own."""
    USAGE = 2
    """The command line or an argument is wrong."""
    UNAVAILABLE = 3
    """The service does not run, or cannot be reached or started."""
    NOT_FOUND = 4
    """No such instance, turn, task, profile or approval."""
    LIMIT = 5
    """A queue is full or a size limit is passed."""
    CANCELLED = 6
    """The turn or the task was cancelled."""
    INTERRUPTED = 7
    """A process died under the turn and the policy was to report."""
    TIMED_OUT = 8
    """The time limit of the turn or the task, or a deadline, passed."""
    CONFIG = 9
    """The configuration or the surroundings are wrong: Codex missing, a bad file, an unsafe directory."""
    CONFLICT = 10
    """It does not go with the present state: busy, draining, already running."""
    NOT_ENDED = 11
    """The task goes on: the time that was given to wait for it passed, or its result was wanted too early."""
    DETACHED = 130
    """Left with Ctrl-C; the turn or the tasks go on."""


class CodexError(Exception):
    """Something went wrong that has no class of its own."""

    reason: ClassVar[str] = "INTERNAL"
    """Stable name for programs."""
    status: ClassVar[str] = "INTERNAL"
    """Name of the gRPC status code."""
    exit_code: ClassVar[Exit] = Exit.FAILED
    """Exit code of a command that ends with it."""

    def __init__(self, what: str = "", *, why: str = "", next_step: str = "") -> None:
        self.what = what or (type(self).__doc__ or "").splitlines()[0].rstrip(".")
        self.why = why
        self.next_step = next_step
        super().__init__(str(self))

    def __str__(self) -> str:
        # One line, also where there is a list of reasons: it goes into logs.
        sentence = f"{self.what}: {'; '.join(self.why.splitlines())}" if self.why else self.what
        if not self.next_step:
            return f"{sentence}."
        end = "" if self.next_step.endswith(("?", ".")) else "."
        return f"{sentence}. {self.next_step[:1].upper()}{self.next_step[1:]}{end}"


class BadInput(CodexError):
    """An argument is wrong."""

    reason = "BAD_INPUT"
    status = "INVALID_ARGUMENT"
    exit_code = Exit.USAGE


class BadConfig(CodexError):
    """The configuration is wrong."""

    reason = "BAD_CONFIG"
    status = "FAILED_PRECONDITION"
    exit_code = Exit.CONFIG


class UnsafePath(CodexError):
    """A file or directory is not ours alone."""

    reason = "UNSAFE_PATH"
    status = "FAILED_PRECONDITION"
    exit_code = Exit.CONFIG


class CodexUnusable(CodexError):
    """The Codex binary is missing, too old, or rejects its configuration."""

    reason = "CODEX_UNUSABLE"
    status = "FAILED_PRECONDITION"
    exit_code = Exit.CONFIG


class NotFound(CodexError):
    """It does not exist."""

    reason = "NOT_FOUND"
    status = "NOT_FOUND"
    exit_code = Exit.NOT_FOUND


class LimitExceeded(CodexError):
    """A queue is full or a size limit is passed."""

    reason = "LIMIT_EXCEEDED"
    status = "RESOURCE_EXHAUSTED"
    exit_code = Exit.LIMIT


class WrongState(CodexError):
    """It does not go with the present state."""

    reason = "WRONG_STATE"
    status = "FAILED_PRECONDITION"
    exit_code = Exit.CONFLICT


class AlreadyRunning(CodexError):
    """Another supervisor of this user runs."""

    reason = "ALREADY_RUNNING"
    status = "ALREADY_EXISTS"
    exit_code = Exit.CONFLICT


class StoreUnavailable(CodexError):
    """The store cannot be written or read."""

    reason = "STORE_UNAVAILABLE"
    status = "UNAVAILABLE"
    exit_code = Exit.UNAVAILABLE


class ChildFailed(CodexError):
    """The child died or does not answer."""

    reason = "CHILD_FAILED"
    status = "UNAVAILABLE"
    exit_code = Exit.FAILED


class ServiceUnavailable(CodexError):
    """The service does not run, or cannot be reached."""

    reason = "SERVICE_UNAVAILABLE"
    status = "UNAVAILABLE"
    exit_code = Exit.UNAVAILABLE


class TimedOut(CodexError):
    """A deadline passed."""

    reason = "TIMED_OUT"
    status = "DEADLINE_EXCEEDED"
    exit_code = Exit.TIMED_OUT


class NotEnded(CodexError):
    """The task has not ended."""

    reason = "NOT_ENDED"
    status = "FAILED_PRECONDITION"
    exit_code = Exit.NOT_ENDED


def all_errors() -> dict[str, type[CodexError]]:
    """Every error class of this module by its `reason`; a program's own errors go by their status."""
    kinds: list[type[CodexError]] = [CodexError, *CodexError.__subclasses__()]
    return {kind.reason: kind for kind in kinds if kind.__module__ == __name__}
