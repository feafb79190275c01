"""What a conversion must know of the endpoint, and what the way back must know of the request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from codex_gateway.dialect.neutral import Dialect, JsonObject, ToolKind

if TYPE_CHECKING:
    from collections.abc import Mapping


class Facts(Struct, frozen=True, kw_only=True):
    """What the chosen endpoint is like."""

    dialect: Dialect
    model: str
    """The model's name to send."""
    endpoint: str = ""
    """The endpoint's name; `encrypted_content` is bound to it."""
    native: bool = False
    """The dialect's own maker serves it (Anthropic, OpenAI) and knows all its features. Others get the plain core."""
    refuses_system_midway: bool = False
    """System messages after the first are refused (learned)."""
    no_tools: bool = False
    """Tools are refused (learned): calls and results are sent as text."""
    max_tokens_field: str | None = None
    """Chat: max_tokens | max_completion_tokens. None: max_completion_tokens where native, else max_tokens."""
    web_search: bool | None = None
    """The endpoint searches the web itself. Where not, the tool is dropped. None: where native."""
    custom_tools: bool | None = None
    """Responses: custom tools work. Where not, they go as functions. None: where native, or at a Responses client."""
    namespaces: bool | None = None
    """Responses: namespaces and tool_search work. Where not, they are flattened. None: as for custom tools."""
    adaptive_thinking: bool | None = None
    """Messages: `thinking.type: adaptive` with `output_config.effort`; else a budget. None: where native and the model
    is none of the older ones."""
    drop_encrypted: bool = False
    """The conversation moved here from another endpoint: encrypted reasoning is left out."""
    drop_signatures: bool = False
    """The endpoint refused a signature: all thinking is left out (the one retry)."""
    no_stop: bool = False
    """Stop sequences are refused (learned; OpenAI's reasoning models): the gateway cuts."""
    thinking_opened: bool = False
    """Chat: the model's template opens `<think>` in the prompt, so that its text begins with reasoning."""
    max_output_tokens: int | None = None
    """Messages demands max_tokens: what is sent where the client named none. None: DEFAULT_MAX_TOKENS."""


class ToolName(Struct, frozen=True):
    """What a tool is called at the client."""

    name: str
    namespace: str | None = None
    kind: ToolKind = ToolKind.FUNCTION


class WayBack(Struct, frozen=True, kw_only=True):
    """What the answer's writer needs from the request."""

    client: Dialect
    upstream: Dialect
    model: str
    """The model under the client's name: echoed in the answer."""
    endpoint: str = ""
    """Sealed into reasoning that goes to a client of another dialect."""
    stream: bool = False
    include_usage: bool = False
    """Chat client: a usage chunk was asked for."""
    tools: Mapping[str, ToolName] = field(default_factory=dict)
    """By the name that was sent upstream, only where something differs: another name, a namespace, or another kind.
    A name that is not here is the client's own, a function."""
    call_ids: Mapping[str, str] = field(default_factory=dict)
    """Call ids that were sent upstream under another name: sent id to the client's id."""
    cut_at: tuple[str, ...] = ()
    """Stop sequences that the upstream dialect cannot be told: the answer's text is cut before the first of them."""
    stop: tuple[str, ...] = ()
    """All stop sequences of the client."""
    include: tuple[str, ...] = ()
    """Responses client: `include`."""
    store: bool | None = None
    """Responses client: `store`; None counts as true."""
    thinking_opened: bool = False
    """The endpoint's text begins with reasoning that ends with `</think>`."""
    keep_thinking: bool = True
    """False where the client asked for no reasoning in the answer."""
    echo: JsonObject = field(default_factory=dict)
    """Responses client: fields of its request that a Response object repeats (instructions, tools, tool_choice, …)."""

    def client_tool(self, sent_name: str) -> ToolName:
        """What the client calls the tool that the endpoint calls `sent_name`."""
        return self.tools.get(sent_name) or ToolName(sent_name)
