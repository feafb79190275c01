"""Reads Anthropic Messages requests into the neutral model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codex_gateway.dialect import reading
from codex_gateway.dialect.neutral import (
    ChoiceMode,
    Dialect,
    File,
    FormatKind,
    HostedTool,
    Image,
    Message,
    Opaque,
    Part,
    Reasoning,
    RedactedThinking,
    Request,
    ResponseFormat,
    ResultPart,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    WebSearchCall,
    WebSearchResult,
)
from codex_gateway.dialect.reading import Wrong, below
from codex_gateway.dialect.seal import unseal

if TYPE_CHECKING:
    from codex_gateway.dialect.neutral import JsonObject

_KNOWN = frozenset(
    (
        *("model", "messages", "system", "tools", "tool_choice", "max_tokens", "temperature", "top_p", "top_k"),
        *("stop_sequences", "thinking", "output_config", "metadata", "service_tier", "stream", "cache_control"),
    )
)
_TOOL_KNOWN = frozenset(("name", "description", "input_schema", "strict", "cache_control", "type"))
_CHOICES = {"auto": ChoiceMode.AUTO, "any": ChoiceMode.REQUIRED, "none": ChoiceMode.NONE, "tool": ChoiceMode.NAMED}


def read_request(body: JsonObject, *, counting: bool = False) -> Request:
    """`body` in neutral form. `counting`: of count_tokens, which has no max_tokens.

    :raises Wrong: with the path of what is wrong
    """
    choice, parallel = _tool_choice(reading.mapping(body, "tool_choice"))
    config = reading.mapping(body, "output_config") or {}
    metadata = reading.mapping(body, "metadata") or {}
    max_tokens = reading.whole(body, "max_tokens", 0)
    if max_tokens is None and not counting:
        raise Wrong("it is missing", "max_tokens")
    with below("output_config"):
        effort = reading.text(config, "effort")
        response_format = _format(reading.mapping(config, "format"))
    with below("metadata"):
        user = reading.text(metadata, "user_id")
    return Request(
        model=reading.need_text(body, "model"),
        origin=Dialect.MESSAGES,
        messages=tuple(reading.each(reading.need_list(body, "messages"), "messages", _message)),
        system=_texts(body, "system"),
        tools=tuple(reading.each(reading.items(body, "tools"), "tools", _tool)),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        max_tokens=max_tokens,
        temperature=reading.number(body, "temperature"),
        top_p=reading.number(body, "top_p"),
        top_k=reading.whole(body, "top_k"),
        stop=reading.texts(body, "stop_sequences"),
        reasoning=_reasoning(reading.mapping(body, "thinking"), effort),
        response_format=response_format,
        service_tier=reading.text(body, "service_tier"),
        user=user,
        cache_control=reading.mapping(body, "cache_control"),
        stream=reading.flag(body, "stream") or False,
        extra=reading.rest(body, _KNOWN),
    )


def _texts(body: JsonObject, key: str) -> tuple[Text, ...]:
    """A string or an array of text blocks."""
    value = body.get(key)
    if value is None:
        return ()
    if isinstance(value, str):
        return (Text(value),) if value else ()
    return tuple(reading.each(reading.need_list(body, key), key, _text))


def _text(block: JsonObject) -> Text:
    kind = reading.need_text(block, "type")
    if kind != "text":
        raise Wrong("it must be text here", "type")
    return Text(
        reading.need_text(block, "text"),
        reading.mapping(block, "cache_control"),
        tuple(reading.items(block, "citations")),
    )


def _message(message: JsonObject) -> Message:
    role = reading.need_text(message, "role")
    if role not in ("user", "assistant", "system"):
        raise Wrong("it must be user, assistant or system", "role")
    content = message.get("content")
    if isinstance(content, str):
        return Message(Role(role), (Text(content),) if content else ())
    if role == "system":
        return Message(Role.SYSTEM, _texts(message, "content"))
    return Message(Role(role), tuple(reading.each(reading.need_list(message, "content"), "content", _block)))


def _block(block: JsonObject) -> Part:
    kind = reading.need_text(block, "type")
    match kind:
        case "text":
            return _text(block)
        case "tool_use":
            return ToolCall(
                reading.need_text(block, "id"),
                reading.need_text(block, "name"),
                reading.json_text(reading.mapping(block, "input") or {}),
                cache_control=reading.mapping(block, "cache_control"),
            )
        case "tool_result":
            return _tool_result(block)
        case "thinking":
            thought = reading.need_text(block, "thinking")
            signature = reading.text(block, "signature") or ""
            return unseal(signature, thought) or Thinking(thought, Dialect.MESSAGES, signature=signature)
        case "redacted_thinking":
            data = reading.need_text(block, "data")
            return unseal(data) or RedactedThinking(data)
        case "image":
            return _image(block)
        case "document":
            return _document(block)
        case "search_result":
            return _search_result(block)
        case "server_tool_use" if block.get("name") == "web_search":
            given = reading.mapping(block, "input") or {}
            with below("input"):
                return WebSearchCall(reading.need_text(block, "id"), reading.text(given, "query") or "")
        case "web_search_tool_result":
            return _web_search_result(block)
        case _:
            # Clients replay blocks that they do not know, so what is unknown here is no mistake.
            return Opaque(Dialect.MESSAGES, block)


def _tool_result(block: JsonObject) -> ToolResult:
    content = block.get("content")
    parts: tuple[ResultPart, ...]
    if content is None or content == "":
        parts = ()
    elif isinstance(content, str):
        parts = (Text(content),)
    else:
        parts = tuple(reading.each(reading.need_list(block, "content"), "content", _result_part))
    return ToolResult(
        reading.need_text(block, "tool_use_id"),
        parts,
        reading.flag(block, "is_error") or False,
        cache_control=reading.mapping(block, "cache_control"),
    )


def _result_part(block: JsonObject) -> ResultPart:
    match reading.need_text(block, "type"):
        case "text":
            return _text(block)
        case "image":
            return _image(block)
        case "document":
            return _document(block)
        case "search_result":
            return _search_result(block)
        case "tool_reference":
            return Text(f"The tool {reading.need_text(block, 'tool_name')} is available.")
        case _:
            return Text(reading.json_text(block))


def _image(block: JsonObject) -> Image:
    source = reading.need_map(block, "source")
    cache = reading.mapping(block, "cache_control")
    with below("source"):
        match reading.need_text(source, "type"):
            case "base64":
                return Image(
                    data=reading.need_text(source, "data"),
                    media_type=reading.need_text(source, "media_type"),
                    cache_control=cache,
                )
            case "url":
                return Image(url=reading.need_text(source, "url"), cache_control=cache)
            case "file":
                return Image(file_id=reading.need_text(source, "file_id"), cache_control=cache)
            case _:
                raise Wrong("it must be base64, url or file", "type")


def _document(block: JsonObject) -> File:
    source = reading.need_map(block, "source")
    rest: dict[str, Any] = {
        "name": reading.text(block, "title"),
        "context": reading.text(block, "context"),
        "cache_control": reading.mapping(block, "cache_control"),
    }
    with below("source"):
        match reading.need_text(source, "type"):
            case "base64":
                return File(
                    data=reading.need_text(source, "data"),
                    media_type=reading.text(source, "media_type") or "application/pdf",
                    **rest,
                )
            case "text":
                return File(text=reading.need_text(source, "data"), media_type="text/plain", **rest)
            case "url":
                return File(url=reading.need_text(source, "url"), **rest)
            case "file":
                return File(file_id=reading.need_text(source, "file_id"), **rest)
            case "content":
                content = source.get("content")
                if isinstance(content, str):
                    return File(text=content, media_type="text/plain", **rest)
                parts = reading.each(reading.need_list(source, "content"), "content", _result_part)
                joined = "\n\n".join(part.text for part in parts if isinstance(part, Text))
                return File(text=joined, media_type="text/plain", **rest)
            case _:
                raise Wrong("it must be base64, text, url, file or content", "type")


def _search_result(block: JsonObject) -> Text:
    parts = reading.each(reading.items(block, "content"), "content", _text)
    head = f"{reading.text(block, 'title') or ''}\n{reading.text(block, 'source') or ''}".strip()
    return Text("\n\n".join(filter(None, [head, *(part.text for part in parts)])))


def _web_search_result(block: JsonObject) -> WebSearchResult:
    content = block.get("content")
    tool_use_id = reading.need_text(block, "tool_use_id")
    if isinstance(content, dict):
        return WebSearchResult(tool_use_id, error_code=reading.text(content, "error_code") or "unavailable")
    return WebSearchResult(tool_use_id, tuple(reading.items(block, "content")))


def _tool(tool: JsonObject) -> Tool | HostedTool:
    kind = reading.text(tool, "type")
    if kind is not None and kind != "custom":
        return HostedTool("web_search" if kind.startswith("web_search_") else kind, Dialect.MESSAGES, tool)
    return Tool(
        reading.need_text(tool, "name"),
        reading.text(tool, "description"),
        reading.mapping(tool, "input_schema"),
        reading.flag(tool, "strict"),
        cache_control=reading.mapping(tool, "cache_control"),
        extra=reading.rest(tool, _TOOL_KNOWN),
    )


def _tool_choice(choice: JsonObject | None) -> tuple[ToolChoice | None, bool | None]:
    if choice is None:
        return None, None
    with below("tool_choice"):
        kind = reading.need_text(choice, "type")
        if kind not in _CHOICES:
            raise Wrong("it must be auto, any, none or tool", "type")
        name = reading.need_text(choice, "name") if kind == "tool" else None
        one_at_a_time = reading.flag(choice, "disable_parallel_tool_use")
    return ToolChoice(_CHOICES[kind], name), None if one_at_a_time is None else not one_at_a_time


def _reasoning(thinking: JsonObject | None, effort: str | None) -> Reasoning | None:
    if thinking is None:
        return Reasoning(effort=effort) if effort else None
    with below("thinking"):
        kind = reading.need_text(thinking, "type")
        display = reading.text(thinking, "display")
        match kind:
            case "enabled":
                return Reasoning(True, effort, reading.whole(thinking, "budget_tokens", 0), display=display)
            case "disabled":
                return Reasoning(False, effort)
            case "adaptive":
                return Reasoning(True, effort, adaptive=True, display=display)
            case _:
                # A newer way to think: the endpoint's default is the nearest.
                return Reasoning(None, effort)


def _format(value: JsonObject | None) -> ResponseFormat | None:
    if value is None:
        return None
    with below("format"):
        if reading.need_text(value, "type") != "json_schema":
            raise Wrong("it must be json_schema", "type")
        return ResponseFormat(FormatKind.JSON_SCHEMA, schema=reading.need_map(value, "schema"))
