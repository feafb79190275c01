"""The parts that messages and answers of the neutral model are made of. Import them from neutral.py."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeAlias

from msgspec import Struct

JsonObject: TypeAlias = dict[str, Any]
"""A decoded JSON object."""


class Dialect(StrEnum):
    """A wire format."""

    MESSAGES = "messages"
    """Anthropic Messages."""
    CHAT = "chat"
    """OpenAI Chat Completions."""
    RESPONSES = "responses"
    """OpenAI Responses."""


class Role(StrEnum):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    """System or developer text in mid-conversation: its position carries meaning."""


# Parts of messages. Those that an answer can hold too: Text, Thinking, RedactedThinking, ToolCall, Refusal,
# WebSearchCall, WebSearchResult, Opaque.


class Text(Struct, frozen=True):
    """Plain text."""

    text: str
    cache_control: JsonObject | None = None
    """Messages' cache marker as it came."""
    annotations: tuple[JsonObject, ...] = ()
    """Citations in the form of the dialect that they came from; written only there."""
    phase: str | None = None
    """Responses, in answers: that of its message."""
    item_id: str = ""
    """Responses, in answers: the id of its message (`msg_…`)."""


class Image(Struct, frozen=True):
    """An image: exactly one of data, url and file_id is set."""

    data: str | None = None
    """Base64."""
    media_type: str = "image/png"
    url: str | None = None
    """An http(s) address."""
    file_id: str | None = None
    detail: str | None = None
    """OpenAI's low | high | auto."""
    cache_control: JsonObject | None = None


class File(Struct, frozen=True):
    """A document (PDF, text): exactly one of data, text, url and file_id is set."""

    data: str | None = None
    """Base64."""
    media_type: str = "application/pdf"
    text: str | None = None
    url: str | None = None
    file_id: str | None = None
    name: str | None = None
    """File name or title."""
    context: str | None = None
    cache_control: JsonObject | None = None


class Audio(Struct, frozen=True):
    """Spoken input (Chat)."""

    data: str
    """Base64."""
    format: str


class Thinking(Struct, frozen=True):
    """Reasoning that may be replayed.

    `origin` is the dialect of the endpoint that made it, which alone understands `signature` (Messages) or
    `encrypted_content` (Responses). What went through a client of another dialect was sealed (see seal.py) and is
    unsealed when the request is read, so `origin` is not always the client's dialect.
    """

    text: str
    """The reasoning itself, or its summary where only that is known."""
    origin: Dialect
    signature: str = ""
    encrypted_content: str = ""
    summary: tuple[str, ...] = ()
    """Responses: the summary's parts. `text` is then their text, or that of `content`."""
    item_id: str = ""
    """Responses: the item's id (`rs_…`)."""
    endpoint: str = ""
    """The endpoint that encrypted it, where known."""


class RedactedThinking(Struct, frozen=True):
    """Messages' redacted thinking."""

    data: str
    origin: Dialect = Dialect.MESSAGES


class ToolKind(StrEnum):
    """What kind of call it is."""

    FUNCTION = "function"
    """Arguments are JSON."""
    CUSTOM = "custom"
    """Responses' and Chat's custom tool: the input is free text."""
    LOCAL_SHELL = "local_shell"
    """Responses' local_shell_call: arguments are the JSON of its `action`."""
    TOOL_SEARCH = "tool_search"
    """Responses' tool_search_call that the client executes: arguments are JSON."""


class ToolCall(Struct, frozen=True):
    """The model wants a tool to run at the client."""

    id: str
    """The call id that the result will name."""
    name: str
    arguments: str = "{}"
    """JSON text of an object, never empty; for a custom tool its raw input."""
    kind: ToolKind = ToolKind.FUNCTION
    namespace: str | None = None
    item_id: str = ""
    """Responses: the item's own id (`fc_…`)."""
    cache_control: JsonObject | None = None


ResultPart: TypeAlias = Text | Image | File
"""What a tool result can hold."""


class ToolResult(Struct, frozen=True):
    """What a tool gave."""

    id: str
    """The id of its call."""
    parts: tuple[ResultPart, ...] = ()
    is_error: bool = False
    kind: ToolKind = ToolKind.FUNCTION
    cache_control: JsonObject | None = None
    raw: JsonObject | None = None
    """What has no neutral form (a tool search's tools), as it came."""


class Refusal(Struct, frozen=True):
    """The model refused, and says so in this text."""

    text: str


class WebSearchCall(Struct, frozen=True):
    """The endpoint itself searched the web."""

    id: str
    query: str = ""
    status: str = "completed"
    action: JsonObject | None = None
    """Responses: the whole action, where it is not a plain search."""


class WebSearchResult(Struct, frozen=True):
    """What the endpoint's own search found: Messages' content as it came (with encrypted_content), or an error code."""

    id: str
    content: tuple[JsonObject, ...] = ()
    error_code: str | None = None


class Opaque(Struct, frozen=True):
    """A block or item without a neutral form. It is written only in the dialect that it came from."""

    origin: Dialect
    value: JsonObject


Part: TypeAlias = (
    Text
    | Image
    | File
    | Audio
    | Thinking
    | RedactedThinking
    | ToolCall
    | ToolResult
    | Refusal
    | WebSearchCall
    | WebSearchResult
    | Opaque
)
