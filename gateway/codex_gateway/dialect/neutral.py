"""The neutral model: what every dialect's requests and answers are read into and written from.

A request is closest to Anthropic Messages in its shape: tool results are parts of user messages, system text at the
head is apart, system text in mid-conversation is a message of its own. An answer is a series of events.

Structs are frozen; lists and dictionaries in them are not copied, so nobody may change what they were made from.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeAlias

from msgspec import Struct, field

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
    previous_response_id: str | None = None
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
