"""Writes the neutral request as OpenAI Chat Completions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_gateway.dialect.effort import effort_of
from codex_gateway.dialect.media import chat_file, data_url, text_of_file
from codex_gateway.dialect.neutral import (
    Audio,
    ChoiceMode,
    Dialect,
    File,
    FormatKind,
    HostedTool,
    Image,
    Message,
    Refusal,
    Request,
    ResponseFormat,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolKind,
    ToolResult,
)
from codex_gateway.dialect.prepare import Prepared, cache_key, choice_to_send, head_text, system_as_user, user_to_send
from codex_gateway.dialect.reading import json_text
from codex_gateway.dialect.repair import NO_CONTENT
from codex_gateway.dialect.schemas import object_schema

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codex_gateway.dialect.facts import Facts
    from codex_gateway.dialect.neutral import JsonObject, Part

MAX_STOP = 4
"""OpenAI takes no more stop sequences."""


def write_request(prepared: Prepared, facts: Facts) -> JsonObject:
    """The body to send.

    :raises BadInput: a document's data is not base64
    """
    request = prepared.request
    messages: list[JsonObject] = []
    head = head_text(request)
    if head:
        messages.append({"role": "system", "content": head})
    for message in request.messages:
        messages += _message(message, prepared, facts)
    body: JsonObject = {"model": facts.model, "messages": messages}
    tools = [written for tool in request.tools if (written := _tool(tool, prepared))]
    if tools:
        body["tools"] = tools
        choice = choice_to_send(request.tool_choice, {tool["function"]["name"] for tool in tools}, prepared)
        if choice:
            body["tool_choice"] = _choice(choice)
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls
    if request.max_tokens is not None:
        body[facts.max_tokens_field or ("max_completion_tokens" if facts.native else "max_tokens")] = request.max_tokens
    for key, value in (
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("seed", request.seed),
        ("presence_penalty", request.presence_penalty),
        ("frequency_penalty", request.frequency_penalty),
        ("reasoning_effort", effort_of(request.reasoning, native=facts.native)),
        ("response_format", _format(request.response_format)),
        ("logprobs", request.logprobs or (True if request.top_logprobs else None)),
        ("top_logprobs", request.top_logprobs),
    ):
        if value is not None:
            body[key] = value
    if request.stop and not facts.no_stop:
        body["stop"] = list(request.stop[:MAX_STOP])
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    if facts.native:
        _add_native(body, request)
    if request.origin is Dialect.CHAT:
        body |= request.extra
    return body


def _add_native(body: JsonObject, request: Request) -> None:
    """What only OpenAI itself knows."""
    tier = request.service_tier if request.origin is not Dialect.MESSAGES else None
    for key, value in (
        ("verbosity", request.verbosity),
        ("prompt_cache_key", cache_key(request)),
        ("safety_identifier", user_to_send(request.user)),
        ("service_tier", tier),
        ("store", request.store if request.origin is Dialect.CHAT else None),
        ("metadata", request.metadata if request.store and request.origin is Dialect.CHAT else None),
    ):
        if value is not None:
            body[key] = value


def _message(message: Message, prepared: Prepared, facts: Facts) -> list[JsonObject]:
    match message.role:
        case Role.SYSTEM:
            if facts.refuses_system_midway:
                return [{"role": "user", "content": _user_content(system_as_user(message.parts))}]
            text = "\n\n".join(part.text for part in message.parts if isinstance(part, Text))
            return [{"role": "system", "content": text}] if text else []
        case Role.ASSISTANT:
            return _assistant(message, prepared, facts)
        case Role.USER:
            return _user(message)


def _user(message: Message) -> list[JsonObject]:
    """Tool messages first, then what tools gave that is no text, then the user's own words."""
    out: list[JsonObject] = []
    seen: list[Part] = []
    own: list[Part] = []
    for part in message.parts:
        if not isinstance(part, ToolResult):
            own.append(part)
            continue
        media = [inner for inner in part.parts if not isinstance(inner, Text)]
        text = "\n\n".join(inner.text for inner in part.parts if isinstance(inner, Text))
        if media:
            word = "It is" if len(media) == 1 else "They are"
            text = f"{text}\n\n[{word} in the next user message.]" if text else f"[{word} in the next user message.]"
            seen += [Text(f"What the tool call {part.id} gave:"), *media]
        out.append({"role": "tool", "tool_call_id": part.id, "content": _marked(text or NO_CONTENT, part)})
    content = _user_content([*seen, *own])
    if content:
        written: JsonObject = {"role": "user", "content": content}
        if message.name:
            written["name"] = message.name
        out.append(written)
    return out


def _marked(text: str, result: ToolResult) -> str:
    """OpenAI's dialects have no field for a failure, so the text must tell."""
    return f"Error: {text}" if result.is_error and "error" not in text[:40].lower() else text


def _user_content(parts: Iterable[Part]) -> str | list[JsonObject]:
    written = [content for part in parts if (content := _user_part(part))]
    if len(written) == 1 and written[0]["type"] == "text":
        return str(written[0]["text"])
    return written


def _user_part(part: Part) -> JsonObject | None:
    match part:
        case Text(text=text):
            return {"type": "text", "text": text} if text else None
        case Image():
            image: JsonObject = {"url": part.url or data_url(part.media_type, part.data or "")}
            if part.detail:
                image["detail"] = part.detail
            return {"type": "image_url", "image_url": image}
        case File():
            words = text_of_file(part)
            return {"type": "text", "text": words} if words is not None else chat_file(part)
        case Audio():
            return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
        case Refusal(text=text):
            return {"type": "text", "text": text}
        case _:
            return None


def _assistant(message: Message, prepared: Prepared, facts: Facts) -> list[JsonObject]:
    texts: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    calls: list[JsonObject] = []
    for part in message.parts:
        match part:
            case Text(text=text):
                texts.append(text)
            case Thinking(text=text) if text:
                thoughts.append(text)
            case Refusal(text=text):
                refusals.append(text)
            case ToolCall():
                calls.append(_call(part, prepared))
            case _:
                pass
    text = "".join(texts)
    if not (text or refusals or calls):
        return []
    out: JsonObject = {"role": "assistant", "content": text or None}
    if thoughts and not facts.native:
        # DeepSeek, Kimi and others want it back, above all with tool calls; OpenAI refuses the field.
        out["reasoning_content"] = "\n\n".join(thoughts)
    if refusals:
        if facts.native:
            out["refusal"] = "".join(refusals)
        else:
            out["content"] = text + "".join(refusals)
    if calls:
        out["tool_calls"] = calls
    if message.name:
        out["name"] = message.name
    return [out]


def _call(part: ToolCall, prepared: Prepared) -> JsonObject:
    arguments = json_text({"input": part.arguments}) if part.kind is ToolKind.CUSTOM else part.arguments
    function = {"name": prepared.names.sent(part.namespace, part.name), "arguments": arguments or "{}"}
    return {"id": part.id, "type": "function", "function": function}


def _tool(tool: Tool | HostedTool, prepared: Prepared) -> JsonObject | None:
    if isinstance(tool, HostedTool):
        return None
    function: JsonObject = {"name": prepared.names.sent(tool.namespace, tool.name)}
    if tool.kind is ToolKind.CUSTOM:
        return {"type": "function", "function": {**function, **custom_as_function(tool)}}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = object_schema(tool.parameters)
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def custom_as_function(tool: Tool) -> JsonObject:
    """Description and parameters of a custom tool as a function with one string."""
    description = tool.description or ""
    grammar = (tool.format or {}).get("definition")
    if grammar:
        syntax = (tool.format or {}).get("syntax", "lark")
        description += f"\n\nThe input must follow this {syntax} grammar:\n{grammar}"
    return {
        "description": description.strip(),
        "parameters": {
            "type": "object",
            "properties": {"input": {"type": "string", "description": "The tool's whole input, as plain text."}},
            "required": ["input"],
            "additionalProperties": False,
        },
    }


def _choice(choice: ToolChoice) -> str | JsonObject:
    mode = str(choice.mode)
    if choice.allowed is not None:
        tools = [{"type": "function", "function": {"name": name}} for name in choice.allowed]
        return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}
    if choice.mode is ChoiceMode.NAMED:
        return {"type": "function", "function": {"name": choice.name}}
    return mode


def _format(wanted: ResponseFormat | None) -> JsonObject | None:
    if wanted is None or wanted.kind is FormatKind.TEXT:
        return None
    if wanted.kind is FormatKind.JSON_OBJECT:
        return {"type": "json_object"}
    schema: JsonObject = {"name": wanted.name, "schema": wanted.schema or {}}
    if wanted.description:
        schema["description"] = wanted.description
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}
