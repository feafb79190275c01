"""What the stub model is told to do: a script is a list of steps, taken when a request matches it.

Steps are plain data, so that a script travels as JSON to a stub model in another process. A step before the first one
that sends something happens before the response's headers: `Stall()` alone never sends headers, `Open(), Stall()`
sends them first.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec


class Open(msgspec.Struct, frozen=True, tag=True):
    """Send the headers and the first event now."""


class Text(msgspec.Struct, frozen=True, tag=True):
    """A message, or more of the open one, in `deltas` pieces with `delay_s` seconds before each."""

    text: str
    deltas: int = 3
    delay_s: float = 0.0


class EndText(msgspec.Struct, frozen=True, tag=True):
    """Complete the open message; the next `Text` begins another one. `phase`: `commentary` or `final_answer`."""

    phase: str | None = None


class Bulk(msgspec.Struct, frozen=True, tag=True):
    """Text of `size_bytes` bytes in `deltas` pieces, as fast as the reader takes them."""

    size_bytes: int
    deltas: int = 1


class Reasoning(msgspec.Struct, frozen=True, tag=True):
    """A reasoning item with these summaries."""

    summaries: tuple[str, ...]


class Command(msgspec.Struct, frozen=True, tag=True):
    """Run a shell command through whichever tool Codex offers. `arguments` are further arguments of that tool, such as
    `{"sandbox_permissions": "require_escalated", "justification": "…"}`, which makes Codex ask for approval.
    """

    command: str
    arguments: dict[str, Any] = {}


class Patch(msgspec.Struct, frozen=True, tag=True):
    """Change files: `text` is a whole patch, from `*** Begin Patch` to `*** End Patch`."""

    text: str


class Plan(msgspec.Struct, frozen=True, tag=True):
    """Update the plan: pairs of step and status (`pending`, `in_progress`, `completed`)."""

    steps: tuple[tuple[str, str], ...]
    explanation: str = ""


class Question(msgspec.Struct, frozen=True, tag=True):
    """Ask the user one question with these options."""

    question: str
    options: tuple[str, ...] = ("Yes (Recommended)", "No")
    id: str = "answer"


class Call(msgspec.Struct, frozen=True, tag=True):
    """Call any function; `arguments` is an object, or text to be sent as it is."""

    name: str
    arguments: dict[str, Any] | str = {}
    namespace: str | None = None


class Usage(msgspec.Struct, frozen=True, tag=True):
    """The tokens that the answer's end will report."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


class Delay(msgspec.Struct, frozen=True, tag=True):
    """Wait. Only where time itself is what is tested; a `Gate` is better for everything else."""

    seconds: float


class Gate(msgspec.Struct, frozen=True, tag=True):
    """Hold the stream here until the test opens the gate of this name."""

    name: str


class Stall(msgspec.Struct, frozen=True, tag=True):
    """Send nothing more and keep the connection open until the client leaves or the stub stops."""


class Cut(msgspec.Struct, frozen=True, tag=True):
    """Break the connection; `reset` with a TCP reset instead of an orderly end."""

    reset: bool = False


class Status(msgspec.Struct, frozen=True, tag=True):
    """Answer with an HTTP error. Without `body`, one in the provider's format with `code` and `message`."""

    status: int
    code: str = ""
    message: str = "the stub model was told to answer so"
    retry_after_s: float | None = None
    body: str | None = None
    extra: dict[str, Any] = {}
    """Further fields of the error object, such as `{"plan_type": "plus", "resets_in_seconds": 60}`."""


class Fail(msgspec.Struct, frozen=True, tag=True):
    """End the answer with `response.failed`."""

    code: str
    message: str = "the stub model was told to fail"


class Incomplete(msgspec.Struct, frozen=True, tag=True):
    """End the answer with `response.incomplete`: `max_output_tokens` or `content_filter`."""

    reason: str = "max_output_tokens"


class Raw(msgspec.Struct, frozen=True, tag=True):
    """Send this text into the event stream as it is."""

    text: str


Step = (
    Open
    | Text
    | EndText
    | Bulk
    | Reasoning
    | Command
    | Patch
    | Plan
    | Question
    | Call
    | Usage
    | Delay
    | Gate
    | Stall
    | Cut
    | Status
    | Fail
    | Incomplete
    | Raw
)


class Script(msgspec.Struct):
    """Steps for the next `times` requests (None: every one) whose last user text has a match of the pattern `when`.

    `continues` narrows it to requests that follow a tool call (True) or that do not (False).
    """

    steps: tuple[Step, ...]
    when: str = ""
    times: int | None = 1
    continues: bool | None = None

    def matches(self, last_user_text: str, *, continues: bool) -> bool:
        """Whether a request with this last user text takes this script."""
        if self.times == 0 or (self.continues is not None and self.continues != continues):
            return False
        return re.search(self.when, last_user_text) is not None


def usage_limit(resets_in_s: int = 3600, plan: str = "plus") -> Status:
    """What the real service answers when the account's quota is used up."""
    return Status(
        429,
        code="usage_limit_reached",
        message="The usage limit has been reached",
        extra={"type": "usage_limit_reached", "plan_type": plan, "resets_in_seconds": resets_in_s},
    )


def context_window_full() -> Fail:
    """What the real service answers when the conversation no longer fits."""
    return Fail("context_length_exceeded", "Your input exceeds the context window of this model.")
