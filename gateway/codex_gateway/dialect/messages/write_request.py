"""Writes the neutral request as Anthropic Messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from codex_control.errors import BadInput

from codex_gateway.dialect.chat.write_request import custom_as_function
from codex_gateway.dialect.effort import thinking_fields
from codex_gateway.dialect.media import text_of_file
from codex_gateway.dialect.neutral import (
    ChoiceMode,
    Dialect,
    File,
    FormatKind,
    HostedTool,
    Image,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    Request,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolKind,
    ToolResult,
    WebSearchCall,
    WebSearchResult,
)
from codex_gateway.dialect.prepare import Prepared, choice_to_send, thinking_to_send, with_system_as_user
from codex_gateway.dialect.repair import GO_ON
from codex_gateway.dialect.schemas import plain_root

if TYPE_CHECKING:
    from codex_gateway.dialect.facts import Facts
    from codex_gateway.dialect.neutral import JsonObject, Message

DEFAULT_MAX_TOKENS = 32_000
"""Anthropic demands max_tokens. The least that a Claude 4 model can write in one answer."""
WEB_SEARCH_TYPE = "web_search_20250305"
"""The first version of the tool: every model that searches knows it."""


def write_request(prepared: Prepared, facts: Facts) -> JsonObject:
    """The body to send.

    :raises BadInput: a part has no counterpart in Messages
    """
    request = with_system_as_user(prepared.request)
    max_tokens = request.max_tokens or facts.max_output_tokens or DEFAULT_MAX_TOKENS
    body: JsonObject = {"model": facts.model, "max_tokens": max_tokens}
    system = [_text(text) for text in request.system if text.text.strip()]
    if request.response_format and request.response_format.kind is FormatKind.JSON_OBJECT:
        system.append({"type": "text", "text": "Answer with one JSON object and nothing else."})
    if system:
        body["system"] = system
    body["messages"] = _messages(request, prepared, facts)
    tools = [written for tool in request.tools if (written := _tool(tool, prepared))]
    forced = False
    if tools:
        body["tools"] = tools
        sent = {str(tool["name"]) for tool in tools}
        forced = _add_choice(body, choice_to_send(request.tool_choice, sent, prepared), request.parallel_tool_calls)
    body |= thinking_fields(
        request.reasoning,
        facts,
        max_tokens,
        forced_tool=forced,
        may_budget=calls_come_after_thinking(body["messages"]),
    )
    wanted = request.response_format
    if wanted and wanted.kind is FormatKind.JSON_SCHEMA and wanted.schema:
        schema = {"type": "json_schema", "schema": wanted.schema}
        body["output_config"] = {**body.get("output_config", {}), "format": schema}
    _add_sampling(body, request)
    if request.stop and not facts.no_stop:
        # Sequences of white space alone are refused.
        stop = [sequence for sequence in request.stop if sequence.strip()]
        if stop:
            body["stop_sequences"] = stop
    if request.user:
        body["metadata"] = {"user_id": request.user}
    if request.cache_control:
        body["cache_control"] = request.cache_control
    if request.stream:
        body["stream"] = True
    if request.origin is Dialect.MESSAGES:
        if request.service_tier:
            body["service_tier"] = request.service_tier
        body |= request.extra
    return body


def _add_sampling(body: JsonObject, request: Request) -> None:
    """Thinking excludes most of it; Anthropic's temperature ends at 1 where OpenAI's ends at 2."""
    thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
    if request.temperature is not None and not thinks:
        body["temperature"] = min(request.temperature, 1.0)
    if request.top_p is not None and (not thinks or request.top_p >= 0.95):
        body["top_p"] = request.top_p
    if request.top_k is not None and not thinks:
        body["top_k"] = request.top_k


def _add_choice(body: JsonObject, choice: ToolChoice | None, parallel: bool | None) -> bool:
    """Sets `tool_choice`; whether a tool is forced."""
    written: JsonObject = {"type": "auto"}
    match choice:
        case ToolChoice(mode=ChoiceMode.NAMED):
            written = {"type": "tool", "name": choice.name or choice.hosted}
        case ToolChoice(mode=ChoiceMode.REQUIRED):
            written = {"type": "any"}
        case ToolChoice(mode=ChoiceMode.NONE):
            written = {"type": "none"}
        case _:
            pass
    if parallel is not None and written["type"] != "none":
        written["disable_parallel_tool_use"] = not parallel
    if choice is not None or parallel is not None:
        body["tool_choice"] = written
    return written["type"] in ("any", "tool")


def calls_come_after_thinking(messages: list[JsonObject]) -> bool:
    """With a thinking budget the last assistant turn that calls tools must begin with thinking."""
    for message in reversed(messages):
        if message["role"] == "assistant":
            content = message["content"]
            types = [block.get("type") for block in content if isinstance(block, dict)] or ["text"]
            return "tool_use" not in types or types[0] in ("thinking", "redacted_thinking")
    return True


def _messages(request: Request, prepared: Prepared, facts: Facts) -> list[JsonObject]:
    """Turns that alternate; the first is the user's."""
    out: list[JsonObject] = []
    for message in request.messages:
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        blocks = _assistant(message, prepared, facts) if role == "assistant" else _user(message)
        if not blocks:
            continue
        if out and out[-1]["role"] == role:
            out[-1]["content"] += blocks
        else:
            out.append({"role": role, "content": blocks})
    if not out or out[0]["role"] == "assistant":
        out.insert(0, {"role": "user", "content": [{"type": "text", "text": GO_ON}]})
    last = out[-1]["content"][-1]
    if out[-1]["role"] == "assistant" and last["type"] == "text":
        # Anthropic refuses a last assistant text that ends with white space.
        last["text"] = last["text"].rstrip() or GO_ON
    return out


def _user(message: Message) -> list[JsonObject]:
    """Results come first: Anthropic refuses them behind text."""
    blocks = [_result(part) for part in message.parts if isinstance(part, ToolResult)]
    for part in message.parts:
        if not isinstance(part, ToolResult):
            blocks += _content(part)
    return blocks


def _content(part: Part) -> list[JsonObject]:
    match part:
        case Text():
            # Anthropic refuses text of white space alone, which models write before calls.
            return [_text(part)] if part.text.strip() else []
        case Image():
            return [_image(part)]
        case File():
            return [_document(part)]
        case Refusal(text=text):
            return [{"type": "text", "text": text}] if text else []
        case Opaque(origin=Dialect.MESSAGES):
            return [part.value]
        case _:
            return []


def _text(part: Text) -> JsonObject:
    block: JsonObject = {"type": "text", "text": part.text}
    if part.cache_control:
        block["cache_control"] = part.cache_control
    if part.annotations and all("cited_text" in citation for citation in part.annotations):
        block["citations"] = list(part.annotations)
    return block


def _cached(block: JsonObject, cache_control: JsonObject | None) -> JsonObject:
    if cache_control:
        block["cache_control"] = cache_control
    return block


def _image(part: Image) -> JsonObject:
    if part.file_id:
        source: JsonObject = {"type": "file", "file_id": part.file_id}
    elif part.url:
        source = {"type": "url", "url": part.url}
    else:
        source = {"type": "base64", "media_type": part.media_type, "data": part.data}
    return _cached({"type": "image", "source": source}, part.cache_control)


def _document(part: File) -> JsonObject:
    words = text_of_file(msgspec.structs.replace(part, name=None, context=None))
    if part.file_id:
        source: JsonObject = {"type": "file", "file_id": part.file_id}
    elif part.url:
        source = {"type": "url", "url": part.url}
    elif words is not None:
        source = {"type": "text", "media_type": "text/plain", "data": words}
    elif part.media_type == "application/pdf":
        source = {"type": "base64", "media_type": part.media_type, "data": part.data}
    else:
        raise BadInput(
            f"a document of the type {part.media_type}",
            why="the endpoint's dialect takes PDF and text alone",
            next_step="send it as PDF or as text",
        )
    block: JsonObject = {"type": "document", "source": source}
    if part.name:
        block["title"] = part.name
    if part.context:
        block["context"] = part.context
    return _cached(block, part.cache_control)


def _result(part: ToolResult) -> JsonObject:
    block: JsonObject = {"type": "tool_result", "tool_use_id": part.id}
    content = [content for inner in part.parts for content in _content(inner)]
    if content:
        block["content"] = content
    if part.is_error:
        block["is_error"] = True
    return _cached(block, part.cache_control)


def _assistant(message: Message, prepared: Prepared, facts: Facts) -> list[JsonObject]:
    blocks: list[JsonObject] = []
    searched = {part.id for part in message.parts if isinstance(part, WebSearchResult) and part.id}
    calls: list[JsonObject] = []
    for part in message.parts:
        match part:
            case Thinking() | RedactedThinking():
                kept = thinking_to_send(part, facts)
                if isinstance(kept, Thinking):
                    blocks.append({"type": "thinking", "thinking": kept.text, "signature": kept.signature})
                elif kept:
                    blocks.append({"type": "redacted_thinking", "data": kept.data})
            case ToolCall():
                calls.append(_call(part, prepared))
            case WebSearchCall() if part.id in searched and facts.native:
                given = {"query": part.query}
                blocks.append({"type": "server_tool_use", "id": part.id, "name": "web_search", "input": given})
            case WebSearchResult() if facts.native:
                blocks.append(_search_result(part))
            case Text() | Refusal() | Image() | File() | Opaque():
                blocks += _content(part)
            case _:
                # A search of another endpoint: its proof is not ours to give.
                pass
    if not calls and all(block["type"] in ("thinking", "redacted_thinking") for block in blocks):
        # A turn may not end with thinking.
        return []
    return blocks + calls


def _search_result(part: WebSearchResult) -> JsonObject:
    content: list[JsonObject] | JsonObject = list(part.content)
    if part.error_code:
        content = {"type": "web_search_tool_result_error", "error_code": part.error_code}
    return {"type": "web_search_tool_result", "tool_use_id": part.id, "content": content}


def _call(part: ToolCall, prepared: Prepared) -> JsonObject:
    block: JsonObject = {
        "type": "tool_use",
        "id": part.id,
        "name": prepared.names.sent(part.namespace, part.name),
        "input": _input(part),
    }
    return _cached(block, part.cache_control)


def _input(part: ToolCall) -> JsonObject:
    if part.kind is ToolKind.CUSTOM:
        return {"input": part.arguments}
    try:
        value = msgspec.json.decode(part.arguments or "{}")
    except msgspec.DecodeError:
        # A model wrote what is no JSON; the history must still be readable.
        return {"input": part.arguments}
    return value if isinstance(value, dict) else {"input": value}


def _tool(tool: Tool | HostedTool, prepared: Prepared) -> JsonObject | None:
    if isinstance(tool, HostedTool):
        return _hosted(tool, prepared)
    written: JsonObject = {"name": prepared.names.sent(tool.namespace, tool.name)}
    if tool.kind is ToolKind.CUSTOM:
        function = custom_as_function(tool)
        return {**written, "description": function["description"], "input_schema": function["parameters"]}
    if tool.description:
        written["description"] = tool.description
    written["input_schema"] = plain_root(tool.parameters)
    if tool.strict:
        written["strict"] = True
    if prepared.request.origin is Dialect.MESSAGES:
        written |= tool.extra
    return _cached(written, tool.cache_control)


def _hosted(tool: HostedTool, prepared: Prepared) -> JsonObject | None:
    if tool.origin is Dialect.MESSAGES:
        return tool.value
    if tool.type != "web_search" or not prepared.web_search:
        return None
    written: JsonObject = {"type": WEB_SEARCH_TYPE, "name": "web_search"}
    filters = tool.value.get("filters")
    if isinstance(filters, dict) and filters.get("allowed_domains"):
        written["allowed_domains"] = filters["allowed_domains"]
    place = tool.value.get("user_location")
    if isinstance(place, dict):
        # Chat keeps the place one level deeper.
        place = place.get("approximate", place)
        place = {key: place[key] for key in ("city", "country", "region", "timezone") if place.get(key)}
        if place:
            written["user_location"] = {"type": "approximate", **place}
    return written
