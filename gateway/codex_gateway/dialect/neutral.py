"""The neutral model: what every dialect's requests and answers are read into and written from.

A request is closest to Anthropic Messages in its shape: tool results are parts of user messages, system text at the
head is apart, system text in mid-conversation is a message of its own. An answer is a series of events.

Structs are frozen; lists and dictionaries in them are not copied, so nobody may change what they were made from.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct, field

from codex_gateway.dialect.parts import (
    Audio,
    Dialect,
    File,
    Image,
    JsonObject,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    ResultPart,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolKind,
    ToolResult,
    WebSearchCall,
    WebSearchResult,
)

# The parts belong to the model; they stand in a module of their own for its length alone.
__all__ = [
    "Audio",
    "Dialect",
    "File",
    "Image",
    "JsonObject",
    "Opaque",
    "Part",
    "RedactedThinking",
    "Refusal",
    "ResultPart",
    "Role",
    "Text",
    "Thinking",
    "ToolCall",
    "ToolKind",
    "ToolResult",
    "WebSearchCall",
    "WebSearchResult",
]


class Message(Struct, frozen=True):
    """One turn of the conversation."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    """Chat's participant name."""
    phase: str | None = None
    """Responses: commentary | final_answer; must be replayed."""


# Tools.


class Tool(Struct, frozen=True):
    """A tool that the client runs."""

    name: str
    description: str | None = None
    parameters: JsonObject | None = None
    """A JSON schema; of a custom tool None."""
    strict: bool | None = None
    kind: ToolKind = ToolKind.FUNCTION
    format: JsonObject | None = None
    """Custom: Responses' `format` object (text, or a grammar with syntax and definition)."""
    namespace: str | None = None
    cache_control: JsonObject | None = None
    extra: JsonObject = field(default_factory=dict)
    """Further fields of the dialect that it came from (defer_loading, input_examples …), written only there."""


class HostedTool(Struct, frozen=True):
    """A tool that the endpoint runs itself, or one of Anthropic's typed client tools."""

    type: str
    """The neutral type (web_search, image_generation, code_interpreter, file_search, mcp …), or as it came."""
    origin: Dialect
    value: JsonObject
    """The whole tool as it came."""


class ChoiceMode(StrEnum):
    """How free the model is."""

    AUTO = "auto"
    REQUIRED = "required"
    """Messages' any."""
    NONE = "none"
    NAMED = "named"


class ToolChoice(Struct, frozen=True):
    """Which tools the model may or must call."""

    mode: ChoiceMode
    name: str | None = None
    """NAMED: the tool."""
    namespace: str | None = None
    kind: ToolKind = ToolKind.FUNCTION
    hosted: str | None = None
    """NAMED: the type of a hosted tool instead of a name."""
    allowed: tuple[str, ...] | None = None
    """OpenAI's allowed_tools: the only ones that may be called; mode is AUTO or REQUIRED. Namespaced: `space.name`."""


# The request.


class Reasoning(Struct, frozen=True):
    """How much the model shall think."""

    enabled: bool | None = None
    """None: as the endpoint likes."""
    effort: str | None = None
    """none | minimal | low | medium | high | xhigh | max | ultra (Codex)."""
    budget_tokens: int | None = None
    adaptive: bool = False
    """Messages' `thinking.type: adaptive`."""
    summary: str | None = None
    """Responses: auto | concise | detailed."""
    display: str | None = None
    """Messages: summarized | omitted."""


class FormatKind(StrEnum):
    """How the answer's text is formed."""

    TEXT = "text"
    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"


class ResponseFormat(Struct, frozen=True):
    """The form that the answer's text must have."""

    kind: FormatKind
    name: str = "answer"
    schema: JsonObject | None = None
    strict: bool | None = None
    description: str | None = None


class Request(Struct, frozen=True):
    """A request, free of dialect."""

    model: str
    origin: Dialect
    messages: tuple[Message, ...]
    system: tuple[Text, ...] = ()
    """System text at the head."""
    tools: tuple[Tool | HostedTool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    reasoning: Reasoning | None = None
    response_format: ResponseFormat | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    user: str | None = None
    """The end user: Messages' metadata.user_id, OpenAI's safety_identifier or user."""
    metadata: JsonObject | None = None
    prompt_cache_key: str | None = None
    cache_control: JsonObject | None = None
    """Messages: the marker on the whole request."""
    store: bool | None = None
    include: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = False
    """Chat: stream_options.include_usage."""
    logprobs: bool | None = None
    top_logprobs: int | None = None
    extra: JsonObject = field(default_factory=dict)
    """Fields without a neutral form, by name, as they came; written only in the dialect that they came from."""


# The answer: events. `index` numbers the parts of an answer from 0 in the order in which they start. Deltas of several
# open parts may interleave (parallel tool calls); writers buffer where their dialect forbids that.


class StopReason(StrEnum):
    """Why the model stopped."""

    END = "end"
    MAX_TOKENS = "max_tokens"
    STOP_SEQUENCE = "stop_sequence"
    TOOL_USE = "tool_use"
    REFUSAL = "refusal"
    """Refused, or held back by a content filter."""
    PAUSE = "pause"
    """Messages' pause_turn: the client sends the answer back to let it go on."""
    CONTEXT_WINDOW = "context_window"
    """The context window is full (Messages' model_context_window_exceeded)."""
    COMPACTION = "compaction"
    INCOMPLETE = "incomplete"
    """The endpoint ended without a reason after some output."""


class Usage(Struct, frozen=True):
    """Tokens. The whole input is input + cache_read + cache_write."""

    input: int = 0
    """Without what was read from or written to a cache."""
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    """With reasoning."""
    reasoning: int = 0
    cache_write_1h: int = 0
    """The part of cache_write that lives one hour."""
    web_searches: int = 0
    service_tier: str | None = None

    @property
    def whole_input(self) -> int:
        """What OpenAI's dialects call prompt or input tokens."""
        return self.input + self.cache_read + self.cache_write


class ErrorKind(StrEnum):
    """What went wrong, free of dialect."""

    BAD_REQUEST = "bad_request"
    UNAUTHENTICATED = "unauthenticated"
    BILLING = "billing"
    """No credit left, quota used up: nothing that waiting cures."""
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    TOO_LARGE = "too_large"
    """The request's body is too large."""
    CONTEXT_LENGTH = "context_length"
    """Too many tokens for the model."""
    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    """The endpoint cannot be reached, or broke off."""
    INTERNAL = "internal"


class Error(Struct, frozen=True):
    """An error of an endpoint, or the gateway's own."""

    kind: ErrorKind
    message: str
    status: int | None = None
    """HTTP status that it came with, or fits it."""
    retry_after_s: float | None = None
    code: str | None = None
    """The dialect's own code or type, as it came."""
    param: str | None = None
    """The field that is wrong, where the endpoint named it."""
    request_id: str | None = None


class Started(Struct, frozen=True):
    """The answer begins."""

    id: str = ""
    model: str = ""
    created_s: int = 0
    """Unix time as the endpoint gave it; 0 where it gave none."""


class PartStarted(Struct, frozen=True):
    """A part begins. `part` holds what is known at its start (of a tool call: id, name, kind, namespace); its text and
    arguments come as deltas. Parts that come whole (redacted thinking, web search results, opaque) have no deltas."""

    index: int
    part: Part


class TextDelta(Struct, frozen=True, gc=False):
    """More text."""

    index: int
    text: str


class ThinkingDelta(Struct, frozen=True, gc=False):
    """More reasoning."""

    index: int
    text: str
    summary_index: int | None = None
    """Responses: which part of the summary; None for the reasoning itself."""


class SignatureDelta(Struct, frozen=True, gc=False):
    """What lets the endpoint believe its own reasoning later."""

    index: int
    signature: str = ""
    encrypted_content: str = ""


class ToolArguments(Struct, frozen=True, gc=False):
    """A fragment of a tool call's arguments (or of a custom tool's input)."""

    index: int
    fragment: str


class RefusalDelta(Struct, frozen=True, gc=False):
    """More of a refusal."""

    index: int
    text: str


class AnnotationSeen(Struct, frozen=True):
    """A citation of the text part."""

    index: int
    annotation: JsonObject
    origin: Dialect


class PartEnded(Struct, frozen=True):
    """A part is whole. `part` is the whole part where the endpoint repeated it; readers need not fill it."""

    index: int
    part: Part | None = None


class UsageSeen(Struct, frozen=True):
    """Tokens so far: replaces what was seen before."""

    usage: Usage


class Finished(Struct, frozen=True):
    """The answer is whole. UsageSeen may follow (Chat's last chunk)."""

    reason: StopReason
    stop_sequence: str | None = None
    native_reason: str | None = None
    """The endpoint's own word."""


class Failed(Struct, frozen=True):
    """The answer failed. Nothing follows."""

    error: Error


class Ping(Struct, frozen=True):
    """The endpoint is alive."""


Event: TypeAlias = (
    Started
    | PartStarted
    | TextDelta
    | ThinkingDelta
    | SignatureDelta
    | ToolArguments
    | RefusalDelta
    | AnnotationSeen
    | PartEnded
    | UsageSeen
    | Finished
    | Failed
    | Ping
)
