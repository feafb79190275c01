"""Writes messages as the items of a Responses request's input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from codex_gateway.dialect.media import data_url, responses_file, text_of_file
from codex_gateway.dialect.neutral import (
    Dialect,
    File,
    Image,
    Message,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolKind,
    ToolResult,
    WebSearchCall,
)
from codex_gateway.dialect.prepare import Prepared, system_as_user, thinking_to_send
from codex_gateway.dialect.reading import json_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codex_gateway.dialect.facts import Facts
    from codex_gateway.dialect.neutral import JsonObject


def write_items(prepared: Prepared, facts: Facts) -> list[JsonObject]:
    """The items of `input`.

    :raises BadInput: a document's data is not base64
    """
    out: list[JsonObject] = []
    for message in prepared.request.messages:
        match message.role:
            case Role.SYSTEM:
                role = "user" if facts.refuses_system_midway else "developer"
                parts = system_as_user(message.parts) if facts.refuses_system_midway else message.parts
                content = _content(parts)
                if content:
                    out.append({"type": "message", "role": role, "content": content})
            case Role.USER:
                out += _user(message, prepared)
            case Role.ASSISTANT:
                out += _assistant(message, prepared, facts)
    return out


def _user(message: Message, prepared: Prepared) -> list[JsonObject]:
    out = [_output(part, prepared) for part in message.parts if isinstance(part, ToolResult)]
    content = _content(part for part in message.parts if not isinstance(part, ToolResult))
    if content:
        out.append({"type": "message", "role": "user", "content": content})
    return out


def _content(parts: Iterable[Part]) -> list[JsonObject]:
    return [written for part in parts if (written := _part(part))]


def _part(part: Part) -> JsonObject | None:
    match part:
        case Text(text=text):
            return {"type": "input_text", "text": text} if text else None
        case Image():
            image: JsonObject = {"type": "input_image", "detail": part.detail or "auto"}
            if part.file_id:
                return {**image, "file_id": part.file_id}
            return {**image, "image_url": part.url or data_url(part.media_type, part.data or "")}
        case File():
            words = text_of_file(part)
            return {"type": "input_text", "text": words} if words is not None else responses_file(part)
        case Refusal(text=text):
            return {"type": "input_text", "text": text} if text else None
        case _:
            return None


def _output(part: ToolResult, prepared: Prepared) -> JsonObject:
    if part.kind is ToolKind.TOOL_SEARCH and part.raw and prepared.namespaces:
        return part.raw
    texts = [inner.text for inner in part.parts if isinstance(inner, Text)]
    output: str | list[JsonObject]
    output = "\n\n".join(texts) if len(texts) == len(part.parts) else _content(part.parts)
    if part.is_error and isinstance(output, str) and "error" not in output[:40].lower():
        # There is no field for a failure, so the text must tell.
        output = f"Error: {output}"
    if part.kind is ToolKind.CUSTOM and prepared.custom_tools:
        kind = "custom_tool_call_output"
    elif part.kind is ToolKind.LOCAL_SHELL and prepared.namespaces:
        return {"type": "local_shell_call_output", "id": part.id, "call_id": part.id, "output": output}
    else:
        kind = "function_call_output"
    return {"type": kind, "call_id": part.id, "output": output}


def _assistant(message: Message, prepared: Prepared, facts: Facts) -> list[JsonObject]:
    """Reasoning, text and calls in their order; text parts in a row are one message."""
    out: list[JsonObject] = []
    content: list[JsonObject] = []

    def finish() -> None:
        if content:
            item: JsonObject = {"type": "message", "role": "assistant", "content": list(content)}
            if message.phase and (facts.native or prepared.request.origin is Dialect.RESPONSES):
                item["phase"] = message.phase
            out.append(item)
            content.clear()

    for part in message.parts:
        match part:
            case Text(text=text):
                if text:
                    content.append({"type": "output_text", "text": text, "annotations": _annotations(part)})
                continue
            case Refusal(text=text):
                content.append({"type": "refusal", "refusal": text})
                continue
            case _:
                finish()
        match part:
            case Thinking() | RedactedThinking():
                kept = thinking_to_send(part, facts)
                if isinstance(kept, Thinking):
                    out.append(_reasoning(kept))
            case ToolCall():
                out.append(_call(part, prepared))
            case WebSearchCall() if prepared.web_search and (part.query or part.action):
                out.append(_search(part))
            case Opaque(origin=Dialect.RESPONSES):
                out.append(part.value)
            case _:
                pass
    finish()
    return _without_lonely_reasoning(out)


def _annotations(part: Text) -> list[JsonObject]:
    return [note for note in part.annotations if "cited_text" not in note]


def _without_lonely_reasoning(items: list[JsonObject]) -> list[JsonObject]:
    """OpenAI refuses reasoning that nothing follows."""
    while items and items[-1]["type"] == "reasoning":
        items.pop()
    return items


def _reasoning(part: Thinking) -> JsonObject:
    item: JsonObject = {"type": "reasoning"}
    if part.item_id:
        item["id"] = part.item_id
    item["summary"] = [{"type": "summary_text", "text": text} for text in part.summary]
    item["encrypted_content"] = part.encrypted_content
    return item


def _call(part: ToolCall, prepared: Prepared) -> JsonObject:
    name = prepared.names.sent(part.namespace, part.name)
    out: JsonObject
    match part.kind:
        case ToolKind.CUSTOM if prepared.custom_tools:
            out = {"type": "custom_tool_call", "call_id": part.id, "name": name, "input": part.arguments}
        case ToolKind.LOCAL_SHELL if prepared.namespaces:
            action = {"type": "exec", **_decoded(part.arguments)}
            out = {"type": "local_shell_call", "call_id": part.id, "status": "completed", "action": action}
        case ToolKind.TOOL_SEARCH if prepared.namespaces:
            out = {"type": "tool_search_call", "call_id": part.id, "execution": "client", "status": "completed"}
            out["arguments"] = _decoded(part.arguments)
        case ToolKind.CUSTOM:
            arguments = json_text({"input": part.arguments})
            out = {"type": "function_call", "call_id": part.id, "name": name, "arguments": arguments}
        case _:
            out = {"type": "function_call", "call_id": part.id, "name": name, "arguments": part.arguments or "{}"}
    if part.namespace and prepared.namespaces:
        out["namespace"] = part.namespace
    if part.item_id:
        out["id"] = part.item_id
    return out


def _decoded(arguments: str) -> JsonObject:
    try:
        value = msgspec.json.decode(arguments or "{}")
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _search(part: WebSearchCall) -> JsonObject:
    action = part.action or {"type": "search", "query": part.query}
    out: JsonObject = {"type": "web_search_call", "status": part.status, "action": action}
    if part.id.startswith("ws_"):
        # Ids of others are refused; without one the item is taken.
        out["id"] = part.id
    return out
