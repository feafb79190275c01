"""Reads the items of a Responses request's input into messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from codex_gateway.dialect import reading
from codex_gateway.dialect.neutral import (
    Dialect,
    File,
    HostedTool,
    Image,
    Message,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    ResultPart,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolKind,
    ToolResult,
    WebSearchCall,
)
from codex_gateway.dialect.reading import Wrong, below
from codex_gateway.dialect.responses.read_tools import LOCAL_SHELL, TOOL_SEARCH, read_tool
from codex_gateway.dialect.seal import unseal

if TYPE_CHECKING:
    from codex_gateway.dialect.neutral import JsonObject

_ItemRead: TypeAlias = Message | Part | list[Tool | HostedTool]


def read_items(values: list[JsonObject]) -> tuple[list[Message], list[Tool | HostedTool]]:
    """The messages, and the tools that the items bring (additional_tools, what a tool search found).

    What the model did in a row (text, reasoning, calls) is one assistant message, outputs in a row one user message.

    :raises Wrong: with the path of what is wrong
    """
    out: list[Message] = []
    tools: list[Tool | HostedTool] = []
    parts: list[Part] = []
    """Of the message that is being put together."""
    role = Role.ASSISTANT
    phase: str | None = None

    def finish() -> None:
        nonlocal phase
        if parts:
            out.append(Message(role, tuple(parts), phase=phase))
            parts.clear()
        phase = None

    for index, read in enumerate(reading.each(values, "input", _item)):
        if isinstance(read, list):
            tools += read
            continue
        if isinstance(read, Message):
            if read.role is not Role.ASSISTANT:
                finish()
                out.append(read)
                continue
            if role is not Role.ASSISTANT or (phase and read.phase and phase != read.phase):
                finish()
            role = Role.ASSISTANT
            phase = read.phase or phase
            parts += read.parts
            continue
        of = Role.USER if isinstance(read, ToolResult) else Role.ASSISTANT
        if of is not role:
            finish()
            role = of
        parts.append(read)
        if isinstance(read, ToolResult) and read.raw:
            with below("input", index):
                lists = reading.each(reading.items(read.raw, "tools"), "tools", read_tool)
                tools += [tool for found in lists for tool in found]
    finish()
    return out, tools


def _item(item: JsonObject) -> _ItemRead:
    kind = reading.text(item, "type") or ("message" if "role" in item else reading.need_text(item, "type"))
    match kind:
        case "message":
            return _message(item)
        case "reasoning":
            return _reasoning(item)
        case "function_call":
            return ToolCall(
                reading.need_text(item, "call_id"),
                reading.need_text(item, "name"),
                reading.text(item, "arguments") or "{}",
                namespace=reading.text(item, "namespace"),
                item_id=reading.text(item, "id") or "",
            )
        case "custom_tool_call":
            return ToolCall(
                reading.need_text(item, "call_id"),
                reading.need_text(item, "name"),
                reading.need_text(item, "input"),
                ToolKind.CUSTOM,
                reading.text(item, "namespace"),
                reading.text(item, "id") or "",
            )
        case "function_call_output":
            return ToolResult(reading.need_text(item, "call_id"), _output(item))
        case "custom_tool_call_output":
            return ToolResult(reading.need_text(item, "call_id"), _output(item), kind=ToolKind.CUSTOM)
        case "local_shell_call":
            call_id = reading.text(item, "call_id") or reading.need_text(item, "id")
            action = {key: value for key, value in reading.need_map(item, "action").items() if key != "type"}
            item_id = reading.text(item, "id") or ""
            return ToolCall(call_id, LOCAL_SHELL, reading.json_text(action), ToolKind.LOCAL_SHELL, item_id=item_id)
        case "local_shell_call_output":
            call_id = reading.text(item, "call_id") or reading.need_text(item, "id")
            return ToolResult(call_id, _output(item), kind=ToolKind.LOCAL_SHELL)
        case "tool_search_call" if item.get("call_id"):
            arguments = reading.json_text(item.get("arguments") or {})
            return ToolCall(reading.need_text(item, "call_id"), TOOL_SEARCH, arguments, ToolKind.TOOL_SEARCH)
        case "tool_search_output" if item.get("call_id"):
            return _search_output(item)
        case "web_search_call":
            return _web_search(item)
        case "additional_tools":
            lists = reading.each(reading.need_list(item, "tools"), "tools", read_tool)
            return [tool for tools in lists for tool in tools]
        case "item_reference":
            raise Wrong("a reference to an item that the gateway does not keep; send the item itself")
        case _:
            return Opaque(Dialect.RESPONSES, item)


def _message(item: JsonObject) -> Message:
    role = reading.need_text(item, "role")
    content = item.get("content")
    parts: tuple[Part, ...]
    if isinstance(content, str):
        parts = (Text(content),) if content else ()
    else:
        parts = tuple(reading.each(reading.need_list(item, "content"), "content", _part))
    match role:
        case "user":
            return Message(Role.USER, parts)
        case "assistant":
            return Message(Role.ASSISTANT, parts, phase=reading.text(item, "phase"))
        case "system" | "developer":
            return Message(Role.SYSTEM, parts)
        case _:
            raise Wrong("it must be user, assistant, system or developer", "role")


def _part(part: JsonObject) -> Part:
    match reading.need_text(part, "type"):
        case "input_text" | "text":
            return Text(reading.need_text(part, "text"))
        case "output_text":
            return Text(reading.need_text(part, "text"), annotations=tuple(reading.items(part, "annotations")))
        case "refusal":
            return Refusal(reading.need_text(part, "refusal"))
        case "input_image":
            return _image(part)
        case "input_file":
            return _file(part)
        case _:
            raise Wrong("it must be input_text, input_image, input_file, output_text or refusal", "type")


def _image(part: JsonObject) -> Image:
    detail = reading.text(part, "detail")
    file_id = reading.text(part, "file_id")
    if file_id:
        return Image(file_id=file_id, detail=detail)
    url = reading.need_text(part, "image_url")
    with below("image_url"):
        inline = reading.data_url(url)
    if inline:
        return Image(data=inline[1], media_type=inline[0], detail=detail)
    return Image(url=url, detail=detail)


def _file(part: JsonObject) -> File:
    name = reading.text(part, "filename")
    file_id, url = reading.text(part, "file_id"), reading.text(part, "file_url")
    if file_id:
        return File(file_id=file_id, name=name)
    if url:
        return File(url=url, name=name)
    data = reading.need_text(part, "file_data")
    with below("file_data"):
        inline = reading.data_url(data)
    return File(data=inline[1], media_type=inline[0], name=name) if inline else File(data=data, name=name)


def _output(item: JsonObject) -> tuple[ResultPart, ...]:
    output = item.get("output")
    if output is None or output == "":
        return ()
    if isinstance(output, str):
        return (Text(output),)
    return tuple(reading.each(reading.need_list(item, "output"), "output", _output_part))


def _output_part(part: JsonObject) -> ResultPart:
    read = _part(part)
    if not isinstance(read, (Text, Image, File)):
        raise Wrong("it must be input_text, input_image or input_file here", "type")
    return read


def _search_output(item: JsonObject) -> ToolResult:
    names: list[str] = []
    for tool in reading.items(item, "tools"):
        if isinstance(tool, dict):
            inner = tool.get("tools")
            name = tool.get("name", "")
            names += [f"{name}.{one.get('name', '')}" for one in inner] if isinstance(inner, list) else [str(name)]
    told = f"Found tools: {', '.join(names)}" if names else "No tools were found."
    return ToolResult(reading.need_text(item, "call_id"), (Text(told),), kind=ToolKind.TOOL_SEARCH, raw=item)


def _reasoning(item: JsonObject) -> Thinking | RedactedThinking:
    summary = tuple(
        reading.each(reading.items(item, "summary"), "summary", lambda part: reading.need_text(part, "text"))
    )
    content = reading.each(reading.items(item, "content"), "content", lambda part: reading.need_text(part, "text"))
    text = "\n\n".join(content or summary)
    encrypted = reading.text(item, "encrypted_content") or ""
    unsealed = unseal(encrypted, text)
    if unsealed:
        return unsealed
    return Thinking(
        text,
        Dialect.RESPONSES,
        encrypted_content=encrypted,
        summary=summary,
        item_id=reading.text(item, "id") or "",
    )


def _web_search(item: JsonObject) -> WebSearchCall:
    action = reading.mapping(item, "action") or {}
    with below("action"):
        query = reading.text(action, "query") or ""
    status = reading.text(item, "status") or "completed"
    return WebSearchCall(reading.text(item, "id") or "", query, status, action or None)
