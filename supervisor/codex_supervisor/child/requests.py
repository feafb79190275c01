"""What we ask of Codex: parameters and replies, by method in `REQUESTS`.

A request leaves out what is at its default, which Codex reads as "as configured".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from codex_control.errors import CodexError, Exit

from codex_supervisor.child.conversation import In, Out, Thread, Turn


class AppServerError(CodexError):
    """Codex refused a request."""

    reason = "CODEX_REFUSED"
    status = "FAILED_PRECONDITION"
    exit_code = Exit.FAILED

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        self.code = code
        self.message = message
        self.data = data
        super().__init__("Codex refused the request", why=message.rstrip("."))


class Empty(In, frozen=True):
    """A reply in which nothing is of use."""


class ClientInfo(Out, frozen=True):
    """Who we are; `name` becomes the originator that the model provider sees."""

    name: str
    version: str
    title: str | None = None


class InitializeCapabilities(Out, frozen=True):
    """`experimental_api` opens thread/backgroundTerminals/clean and collaboration modes."""

    experimental_api: bool = False
    opt_out_notification_methods: Sequence[str] | None = None


class InitializeParams(Out, frozen=True):
    """initialize."""

    client_info: ClientInfo
    capabilities: InitializeCapabilities | None = None


class InitializeResponse(In, frozen=True):
    """`user_agent` is "<name>/<Codex version> …"."""

    user_agent: str
    codex_home: str


class ThreadStartParams(Out, frozen=True):
    """thread/start. The effort goes into `config` as `model_reasoning_effort`."""

    cwd: str | None = None
    model: str | None = None
    approval_policy: str | None = None
    sandbox: str | None = None
    developer_instructions: str | None = None
    config: Mapping[str, Any] | None = None


class ThreadStartResponse(In, frozen=True):
    """The new thread and what is in force in it."""

    thread: Thread
    model: str
    model_provider: str
    reasoning_effort: str | None = None


class ThreadResumeParams(Out, frozen=True):
    """thread/resume. `exclude_turns` keeps it fast in a long conversation.

    Without `model_provider` the thread keeps the one that it began with, whatever the configuration says by now.
    `developer_instructions` have no effect on a thread that has already told the model its instructions.
    """

    thread_id: str
    exclude_turns: bool = False
    cwd: str | None = None
    model: str | None = None
    model_provider: str | None = None
    approval_policy: str | None = None
    sandbox: str | None = None
    developer_instructions: str | None = None
    config: Mapping[str, Any] | None = None


class ThreadResumeResponse(In, frozen=True):
    """The thread, and the settings that stuck."""

    thread: Thread
    model: str
    model_provider: str
    reasoning_effort: str | None = None


class ThreadReadParams(Out, frozen=True):
    """thread/read: works while another process writes the thread."""

    thread_id: str
    include_turns: bool = False


class ThreadReadResponse(In, frozen=True):
    """The thread as it is on disk."""

    thread: Thread


class ThreadTurnsListParams(Out, frozen=True):
    """thread/turns/list. Newest first unless `sort_direction` is asc; `items_view` is notLoaded, summary or full."""

    thread_id: str
    limit: int | None = None
    items_view: str | None = None
    cursor: str | None = None
    sort_direction: str | None = None


class ThreadTurnsListResponse(In, frozen=True):
    """One page."""

    data: list[Turn]
    next_cursor: str | None = None


class TextInput(Out, frozen=True, tag="text", tag_field="type"):
    """Text, at most 1,048,576 characters in one turn."""

    text: str


class ImageInput(Out, frozen=True, tag="image", tag_field="type"):
    """An image at a URL, also a data URL."""

    url: str


class LocalImageInput(Out, frozen=True, tag="localImage", tag_field="type"):
    """An image file that Codex reads; an absolute path."""

    path: str


UserInput = TextInput | ImageInput | LocalImageInput


class CollaborationSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """These keys are not in camel case. What is left out is taken away, the effort too."""

    model: str
    reasoning_effort: str | None = None
    developer_instructions: str | None = None


class CollaborationMode(Out, frozen=True):
    """`mode` is default or plan. The way to give developer instructions for a turn and those after it (experimental):
    they are appended to the conversation, the earlier ones stay in it.
    """

    mode: str
    settings: CollaborationSettings


class TurnStartParams(Out, frozen=True):
    """turn/start. An empty `input` runs the model on the history as it is. Overrides stick to the thread.

    On a thread with a running turn Codex silently steers that turn instead: never send it then.
    """

    thread_id: str
    input: Sequence[UserInput]
    client_user_message_id: str | None = None
    cwd: str | None = None
    model: str | None = None
    effort: str | None = None
    summary: str | None = None
    approval_policy: str | None = None
    sandbox_policy: Mapping[str, Any] | None = None
    output_schema: Any = None
    collaboration_mode: CollaborationMode | None = None


class TurnStartResponse(In, frozen=True):
    """The turn that began."""

    turn: Turn


class TurnSteerParams(Out, frozen=True):
    """turn/steer: more input for the running turn."""

    thread_id: str
    expected_turn_id: str
    input: Sequence[UserInput]
    client_user_message_id: str | None = None


class TurnSteerResponse(In, frozen=True):
    """The turn that took it."""

    turn_id: str


class TurnInterruptParams(Out, frozen=True):
    """turn/interrupt. Commands that the turn started run on."""

    thread_id: str
    turn_id: str


class ThreadBackgroundTerminalsCleanParams(Out, frozen=True):
    """thread/backgroundTerminals/clean: kill the commands that outlived their turn (experimental)."""

    thread_id: str


class ThreadRevertParams(Out, frozen=True):
    """thread/revert: forget this turn and all after it; changed files stay changed."""

    thread_id: str
    before_turn_id: str


class ThreadRevertResponse(In, frozen=True):
    """The shortened thread."""

    thread: Thread


class ThreadUnsubscribeParams(Out, frozen=True):
    """thread/unsubscribe: no more notifications; Codex unloads a thread that nobody follows."""

    thread_id: str


class ThreadUnsubscribeResponse(In, frozen=True):
    """`status` is unsubscribed, notSubscribed or notLoaded."""

    status: str


class ThreadSettingsUpdateParams(Out, frozen=True):
    """thread/settings/update: what sticks to the thread, for what is sent without it. See `TurnStartParams`."""

    thread_id: str
    cwd: str | None = None
    model: str | None = None
    effort: str | None = None
    summary: str | None = None
    approval_policy: str | None = None
    sandbox_policy: Mapping[str, Any] | None = None
    collaboration_mode: CollaborationMode | None = None


class ReviewStartParams(Out, frozen=True):
    """review/start. `target` is {"type": "uncommittedChanges"}, or baseBranch with branch, commit with sha, or custom
    with instructions; `delivery` is inline or detached.
    """

    thread_id: str
    target: Mapping[str, str]
    delivery: str | None = None


class ReviewStartResponse(In, frozen=True):
    """The turn in which it runs."""

    turn: Turn
    review_thread_id: str


class ThreadLoadedListParams(Out, frozen=True):
    """thread/loaded/list: stable, answered in 0.2 ms, writes nothing. We use it to see that the child lives."""

    limit: int | None = None


class GetAccountParams(Out, frozen=True):
    """account/read: who is logged in, from what is on disk; no network."""


class GetAccountResponse(In, frozen=True):
    """Nobody is logged in who should be where `requires_openai_auth` and no `account`: a turn would then only retry."""

    requires_openai_auth: bool
    account: dict[str, Any] | None = None


class ConfigReadParams(Out, frozen=True):
    """config/read: the configuration of the process, with the `-c` settings that it was started with."""


class CodexConfig(In, frozen=True, rename=None):
    """The part of it that we ask for, under the names of config.toml."""

    model_provider: str | None = None
    """Codex's own, `openai`, where it is not set."""


class ConfigReadResponse(In, frozen=True):
    """What is in force."""

    config: CodexConfig


REQUESTS: Mapping[str, tuple[type[Out], type[In]]] = MappingProxyType(
    {
        "initialize": (InitializeParams, InitializeResponse),
        "thread/start": (ThreadStartParams, ThreadStartResponse),
        "thread/resume": (ThreadResumeParams, ThreadResumeResponse),
        "thread/read": (ThreadReadParams, ThreadReadResponse),
        "thread/turns/list": (ThreadTurnsListParams, ThreadTurnsListResponse),
        "thread/loaded/list": (ThreadLoadedListParams, Empty),
        "thread/revert": (ThreadRevertParams, ThreadRevertResponse),
        "thread/settings/update": (ThreadSettingsUpdateParams, Empty),
        "thread/unsubscribe": (ThreadUnsubscribeParams, ThreadUnsubscribeResponse),
        "thread/backgroundTerminals/clean": (ThreadBackgroundTerminalsCleanParams, Empty),
        "turn/start": (TurnStartParams, TurnStartResponse),
        "turn/steer": (TurnSteerParams, TurnSteerResponse),
        "turn/interrupt": (TurnInterruptParams, Empty),
        "account/read": (GetAccountParams, GetAccountResponse),
        "config/read": (ConfigReadParams, ConfigReadResponse),
        "review/start": (ReviewStartParams, ReviewStartResponse),
    }
)
