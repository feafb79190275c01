"""Reads OpenAI Chat Completions requests into the neutral model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_gateway.dialect import reading
from codex_gateway.dialect.neutral import (
    Audio,
    ChoiceMode,
    Dialect,
    File,
    FormatKind,
    HostedTool,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Request,
    ResponseFormat,
    ResultPart,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolKind,
    ToolResult,
)
from codex_gateway.dialect.reading import Wrong, below

if TYPE_CHECKING:
    from codex_gateway.dialect.neutral import JsonObject

_KNOWN = frozenset(
    (
        *(
            "model",
            "messages",
            "tools",
            "tool_choice",
            "functions",
            "function_call",
            "parallel_tool_calls",
            "max_tokens",
        ),
        *("max_completion_tokens", "temperature", "top_p", "top_k", "stop", "seed", "presence_penalty", "stream"),
        *("frequency_penalty", "reasoning_effort", "reasoning", "response_format", "verbosity", "service_tier", "user"),
        *("safety_identifier", "metadata", "prompt_cache_key", "store", "stream_options", "logprobs", "top_logprobs"),
        "web_search_options",
    )
)
_FUNCTION_KNOWN = frozenset(("name", "description", "parameters", "strict"))
_MODES = {"auto": ChoiceMode.AUTO, "required": ChoiceMode.REQUIRED, "none": ChoiceMode.NONE}


def read_request(body: JsonObject) -> Request:
    """`body` in neutral form.

    :raises Wrong: with the path of what is wrong
    """
    count = reading.whole(body, "n", 1)
    if count is not None and count > 1:
        raise Wrong("only one choice can be given where the endpoint speaks another dialect", "n")
    messages = _messages(reading.need_list(body, "messages"))
    head: list[Text] = []
    for message in messages:
        if message.role is not Role.SYSTEM:
            break
        head.extend(part for part in message.parts if isinstance(part, Text))
    tools = [*reading.each(reading.items(body, "tools"), "tools", _tool)]
    tools += reading.each(reading.items(body, "functions"), "functions", _function)
    search = reading.mapping(body, "web_search_options")
    if search is not None:
        tools.append(HostedTool("web_search", Dialect.CHAT, {"type": "web_search", **search}))
    options = reading.mapping(body, "stream_options") or {}
    with below("stream_options"):
        include_usage = reading.flag(options, "include_usage") or False
    max_tokens = reading.whole(body, "max_completion_tokens", 0)
    return Request(
        model=reading.need_text(body, "model"),
        origin=Dialect.CHAT,
        messages=tuple(messages[_head_length(messages) :]),
        system=tuple(head),
        tools=tuple(tools),
        tool_choice=_tool_choice(body),
        parallel_tool_calls=reading.flag(body, "parallel_tool_calls"),
        max_tokens=reading.whole(body, "max_tokens", 0) if max_tokens is None else max_tokens,
        temperature=reading.number(body, "temperature"),
        top_p=reading.number(body, "top_p"),
        top_k=reading.whole(body, "top_k"),
        stop=_stop(body),
        seed=reading.whole(body, "seed"),
        presence_penalty=reading.number(body, "presence_penalty"),
        frequency_penalty=reading.number(body, "frequency_penalty"),
        reasoning=_reasoning(body),
        response_format=_format(reading.mapping(body, "response_format")),
        verbosity=reading.text(body, "verbosity"),
        service_tier=reading.text(body, "service_tier"),
        user=reading.text(body, "safety_identifier") or reading.text(body, "user"),
        metadata=reading.mapping(body, "metadata"),
        prompt_cache_key=reading.text(body, "prompt_cache_key"),
        store=reading.flag(body, "store"),
        stream=reading.flag(body, "stream") or False,
        include_usage=include_usage,
        logprobs=reading.flag(body, "logprobs"),
        top_logprobs=reading.whole(body, "top_logprobs", 0),
        extra=reading.rest(body, _KNOWN),
    )


def _head_length(messages: list[Message]) -> int:
    for index, message in enumerate(messages):
        if message.role is not Role.SYSTEM:
            return index
    return len(messages)


def _messages(values: list[JsonObject]) -> list[Message]:
    """Tool messages in a row become one user message with their results."""
    read = reading.each(values, "messages", _message)
    out: list[Message] = []
    previous_was_tool = False
    for message, value in zip(read, values, strict=True):
        is_tool = value["role"] in ("tool", "function")
        if is_tool and previous_was_tool:
            out[-1] = Message(Role.USER, out[-1].parts + message.parts)
        else:
            out.append(message)
        previous_was_tool = is_tool
    return out


def _message(message: JsonObject) -> Message:
    name = reading.text(message, "name")
    match reading.need_text(message, "role"):
        case "system" | "developer":
            return Message(Role.SYSTEM, tuple(Text(text) for text in _only_texts(message)), name)
        case "user":
            return Message(Role.USER, tuple(_content(message)), name)
        case "assistant":
            return Message(Role.ASSISTANT, tuple(_assistant(message)), name)
        case "tool":
            return Message(Role.USER, (ToolResult(reading.need_text(message, "tool_call_id"), _result_parts(message)),))
        case "function":
            return Message(
                Role.USER, (ToolResult(_legacy_id(reading.need_text(message, "name")), _result_parts(message)),)
            )
        case _:
            raise Wrong("it must be system, developer, user, assistant or tool", "role")


def _legacy_id(name: str) -> str:
    """Functions of the first kind had no ids."""
    return f"function_{name}"


def _only_texts(message: JsonObject) -> list[str]:
    content = message.get("content")
    if isinstance(content, str):
        return [content] if content else []
    return reading.each(reading.need_list(message, "content"), "content", _only_text)


def _only_text(part: JsonObject) -> str:
    if reading.need_text(part, "type") != "text":
        raise Wrong("it must be text here", "type")
    return reading.need_text(part, "text")


def _content(message: JsonObject) -> list[Part]:
    content = message.get("content")
    if isinstance(content, str):
        return [Text(content)] if content else []
    return reading.each(reading.need_list(message, "content"), "content", _part)


def _part(part: JsonObject) -> Part:
    match reading.need_text(part, "type"):
        case "text":
            return Text(reading.need_text(part, "text"))
        case "refusal":
            return Refusal(reading.need_text(part, "refusal"))
        case "image_url":
            return _image(part)
        case "input_audio":
            audio = reading.need_map(part, "input_audio")
            with below("input_audio"):
                return Audio(reading.need_text(audio, "data"), reading.need_text(audio, "format"))
        case "file":
            return _file(reading.need_map(part, "file"))
        case _:
            raise Wrong("it must be text, image_url, input_audio, file or refusal", "type")


def _image(part: JsonObject) -> Image:
    value = part.get("image_url")
    if isinstance(value, str):
        value = {"url": value}
    with below("image_url"):
        value = reading.obj(value)
        url = reading.need_text(value, "url")
        detail = reading.text(value, "detail")
        with below("url"):
            inline = reading.data_url(url)
    if inline:
        return Image(data=inline[1], media_type=inline[0], detail=detail)
    return Image(url=url, detail=detail)


def _file(value: JsonObject) -> File:
    with below("file"):
        name = reading.text(value, "filename")
        file_id = reading.text(value, "file_id")
        if file_id:
            return File(file_id=file_id, name=name)
        data = reading.need_text(value, "file_data")
        with below("file_data"):
            inline = reading.data_url(data)
    return File(data=inline[1], media_type=inline[0], name=name) if inline else File(data=data, name=name)


def _assistant(message: JsonObject) -> list[Part]:
    parts: list[Part] = []
    # DeepSeek's name for it, and OpenRouter's.
    thought = reading.text(message, "reasoning_content") or reading.text(message, "reasoning")
    if thought:
        parts.append(Thinking(thought, Dialect.CHAT))
    if message.get("content") is not None:
        parts += _content(message)
    refusal = reading.text(message, "refusal")
    if refusal:
        parts.append(Refusal(refusal))
    parts += reading.each(reading.items(message, "tool_calls"), "tool_calls", _tool_call)
    legacy = reading.mapping(message, "function_call")
    if legacy:
        with below("function_call"):
            name = reading.need_text(legacy, "name")
            parts.append(ToolCall(_legacy_id(name), name, reading.text(legacy, "arguments") or "{}"))
    return parts


def _tool_call(call: JsonObject) -> ToolCall:
    call_id = reading.need_text(call, "id")
    # Some clients leave the type out.
    if call.get("type") == "custom":
        custom = reading.need_map(call, "custom")
        with below("custom"):
            name, given = reading.need_text(custom, "name"), reading.need_text(custom, "input")
            return ToolCall(call_id, name, given, ToolKind.CUSTOM)
    function = reading.need_map(call, "function")
    with below("function"):
        return ToolCall(call_id, reading.need_text(function, "name"), reading.text(function, "arguments") or "{}")


def _result_parts(message: JsonObject) -> tuple[ResultPart, ...]:
    content = message.get("content")
    if content is None or content == "":
        return ()
    if isinstance(content, str):
        return (Text(content),)
    return tuple(reading.each(reading.need_list(message, "content"), "content", _result_part))


def _result_part(part: JsonObject) -> ResultPart:
    read = _part(part)
    if not isinstance(read, (Text, Image, File)):
        raise Wrong("it must be text, image_url or file here", "type")
    return read


def _tool(tool: JsonObject) -> Tool | HostedTool:
    match reading.need_text(tool, "type"):
        case "function":
            function = reading.need_map(tool, "function")
            with below("function"):
                return _function(function)
        case "custom":
            custom = reading.need_map(tool, "custom")
            with below("custom"):
                return Tool(
                    reading.need_text(custom, "name"),
                    reading.text(custom, "description"),
                    kind=ToolKind.CUSTOM,
                    format=_flat_format(reading.mapping(custom, "format")),
                )
        case kind:
            return HostedTool(kind, Dialect.CHAT, tool)


def _flat_format(value: JsonObject | None) -> JsonObject | None:
    """Responses has a grammar's fields beside its type, Chat below a key of their own."""
    grammar = value.get("grammar") if value else None
    return {"type": "grammar", **grammar} if isinstance(grammar, dict) else value


def _function(function: JsonObject) -> Tool:
    return Tool(
        reading.need_text(function, "name"),
        reading.text(function, "description"),
        reading.mapping(function, "parameters"),
        reading.flag(function, "strict"),
        extra=reading.rest(function, _FUNCTION_KNOWN),
    )


def _tool_choice(body: JsonObject) -> ToolChoice | None:
    key = "tool_choice" if body.get("tool_choice") is not None else "function_call"
    choice = body.get(key)
    if choice is None:
        return None
    if isinstance(choice, str):
        mode = reading.word(body, key, tuple(_MODES))
        return ToolChoice(_MODES[mode or "auto"])
    choice = reading.obj(choice, key)
    with below(key):
        if key == "function_call":
            return ToolChoice(ChoiceMode.NAMED, reading.need_text(choice, "name"))
        kind = reading.need_text(choice, "type")
        if kind in ("function", "custom"):
            named = reading.need_map(choice, kind)
            with below(kind):
                return ToolChoice(ChoiceMode.NAMED, reading.need_text(named, "name"), kind=ToolKind(kind))
        if kind == "allowed_tools":
            allowed = reading.mapping(choice, "allowed_tools") or choice
            mode = reading.word(allowed, "mode", ("auto", "required")) or "auto"
            names = reading.each(reading.need_list(allowed, "tools"), "tools", _allowed_name)
            return ToolChoice(_MODES[mode], allowed=tuple(names))
        raise Wrong("it must be function, custom or allowed_tools", "type")


def _allowed_name(tool: JsonObject) -> str:
    inner = tool.get(reading.need_text(tool, "type"))
    return reading.need_text(inner if isinstance(inner, dict) else tool, "name")


def _stop(body: JsonObject) -> tuple[str, ...]:
    value = body.get("stop")
    if isinstance(value, str):
        return (value,)
    return reading.texts(body, "stop")


def _reasoning(body: JsonObject) -> Reasoning | None:
    effort = reading.text(body, "reasoning_effort")
    # OpenRouter's form.
    nested = reading.mapping(body, "reasoning") or {}
    with below("reasoning"):
        effort = effort or reading.text(nested, "effort")
        budget = reading.whole(nested, "max_tokens", 0)
        enabled = reading.flag(nested, "enabled")
    if effort is None and budget is None and enabled is None:
        return None
    if effort == "none":
        enabled = False
    elif enabled is None:
        enabled = True
    return Reasoning(enabled, effort, budget)


def _format(value: JsonObject | None) -> ResponseFormat | None:
    if value is None:
        return None
    with below("response_format"):
        match reading.need_text(value, "type"):
            case "text":
                return ResponseFormat(FormatKind.TEXT)
            case "json_object":
                return ResponseFormat(FormatKind.JSON_OBJECT)
            case "json_schema":
                inner = reading.need_map(value, "json_schema")
                with below("json_schema"):
                    return ResponseFormat(
                        FormatKind.JSON_SCHEMA,
                        reading.text(inner, "name") or "answer",
                        reading.mapping(inner, "schema"),
                        reading.flag(inner, "strict"),
                        reading.text(inner, "description"),
                    )
            case _:
                raise Wrong("it must be text, json_object or json_schema", "type")
