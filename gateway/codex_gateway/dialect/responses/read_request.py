"""Reads OpenAI Responses requests into the neutral model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codex_gateway.dialect import reading
from codex_gateway.dialect.neutral import (
    ChoiceMode,
    Dialect,
    FormatKind,
    Reasoning,
    Request,
    ResponseFormat,
    Role,
    Text,
    ToolChoice,
    ToolKind,
)
from codex_gateway.dialect.reading import Wrong, below
from codex_gateway.dialect.responses.read_items import read_items
from codex_gateway.dialect.responses.read_tools import read_tool

if TYPE_CHECKING:
    from codex_gateway.dialect.neutral import HostedTool, JsonObject, Tool

_KNOWN = frozenset(
    (
        *("model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "max_output_tokens"),
        *("temperature", "top_p", "reasoning", "text", "service_tier", "user", "safety_identifier", "metadata"),
        *("prompt_cache_key", "store", "include", "previous_response_id", "stream", "top_logprobs"),
    )
)
_MODES = {"auto": ChoiceMode.AUTO, "required": ChoiceMode.REQUIRED, "none": ChoiceMode.NONE}


def input_items(body: JsonObject) -> list[JsonObject]:
    """The request's input as a list of items.

    :raises Wrong: it is neither a string nor a list
    """
    given = body.get("input")
    if isinstance(given, str):
        return (
            [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]}] if given else []
        )
    return reading.items(body, "input")


def read_request(body: JsonObject) -> Request:
    """`body` in neutral form; `previous_response_id` must have been replaced by its conversation before.

    :raises Wrong: with the path of what is wrong
    """
    for key in ("conversation", "prompt"):
        if body.get(key) is not None:
            raise Wrong("it is kept by OpenAI alone; this model is served by an endpoint of another kind", key)
    if reading.flag(body, "background"):
        raise Wrong("an endpoint of this dialect cannot run a response in the background", "background")
    messages, more_tools = read_items(input_items(body))
    instructions = body.get("instructions")
    head: list[Text] = []
    if isinstance(instructions, list):
        first, _ = read_items(instructions)
        head += [part for message in first for part in message.parts if isinstance(part, Text)]
    elif reading.text(body, "instructions"):
        head.append(Text(body["instructions"]))
    start = 0
    while start < len(messages) and messages[start].role is Role.SYSTEM:
        head += [part for part in messages[start].parts if isinstance(part, Text)]
        start += 1
    text = reading.mapping(body, "text") or {}
    with below("text"):
        response_format = _format(reading.mapping(text, "format"))
        verbosity = reading.text(text, "verbosity")
    return Request(
        model=reading.need_text(body, "model"),
        origin=Dialect.RESPONSES,
        messages=tuple(messages[start:]),
        system=tuple(head),
        tools=_tools(body, more_tools),
        tool_choice=_tool_choice(body),
        parallel_tool_calls=reading.flag(body, "parallel_tool_calls"),
        max_tokens=reading.whole(body, "max_output_tokens", 0),
        temperature=reading.number(body, "temperature"),
        top_p=reading.number(body, "top_p"),
        reasoning=_reasoning(reading.mapping(body, "reasoning")),
        response_format=response_format,
        verbosity=verbosity,
        service_tier=reading.text(body, "service_tier"),
        user=reading.text(body, "safety_identifier") or reading.text(body, "user"),
        metadata=reading.mapping(body, "metadata"),
        prompt_cache_key=reading.text(body, "prompt_cache_key"),
        store=reading.flag(body, "store"),
        include=reading.texts(body, "include"),
        stream=reading.flag(body, "stream") or False,
        top_logprobs=reading.whole(body, "top_logprobs", 0),
        extra=reading.rest(body, _KNOWN),
    )


def _tools(body: JsonObject, more: list[Tool | HostedTool]) -> tuple[Tool | HostedTool, ...]:
    """The tools of the request, and those that items of the input bring; the first of a name counts."""
    out: list[Tool | HostedTool] = []
    seen: set[tuple[Any, ...]] = set()
    lists = reading.each(reading.items(body, "tools"), "tools", read_tool)
    for tool in [*(tool for tools in lists for tool in tools), *more]:
        key = (getattr(tool, "namespace", None), getattr(tool, "name", None) or getattr(tool, "type", None))
        if key not in seen:
            seen.add(key)
            out.append(tool)
    return tuple(out)


def _tool_choice(body: JsonObject) -> ToolChoice | None:
    choice = body.get("tool_choice")
    if choice is None:
        return None
    if isinstance(choice, str):
        mode = reading.word(body, "tool_choice", tuple(_MODES))
        return ToolChoice(_MODES[mode or "auto"])
    choice = reading.obj(choice, "tool_choice")
    with below("tool_choice"):
        kind = reading.need_text(choice, "type")
        match kind:
            case "function" | "custom":
                name = reading.need_text(choice, "name")
                return ToolChoice(ChoiceMode.NAMED, name, reading.text(choice, "namespace"), ToolKind(kind))
            case "allowed_tools":
                mode = reading.word(choice, "mode", ("auto", "required")) or "auto"
                names = reading.each(reading.need_list(choice, "tools"), "tools", _allowed_name)
                return ToolChoice(_MODES[mode], allowed=tuple(names))
            case _:
                return ToolChoice(ChoiceMode.NAMED, hosted="web_search" if kind.startswith("web_search") else kind)


def _allowed_name(tool: JsonObject) -> str:
    name = reading.text(tool, "name") or reading.need_text(tool, "type")
    namespace = reading.text(tool, "namespace")
    return f"{namespace}.{name}" if namespace else name


def _reasoning(value: JsonObject | None) -> Reasoning | None:
    if value is None:
        return None
    with below("reasoning"):
        effort = reading.text(value, "effort")
        summary = reading.text(value, "summary") or reading.text(value, "generate_summary")
    if effort is None and summary is None:
        return None
    enabled = None if effort is None else effort != "none"
    return Reasoning(enabled, effort, summary=None if summary == "none" else summary)


def _format(value: JsonObject | None) -> ResponseFormat | None:
    if value is None:
        return None
    with below("format"):
        match reading.need_text(value, "type"):
            case "text":
                return ResponseFormat(FormatKind.TEXT)
            case "json_object":
                return ResponseFormat(FormatKind.JSON_OBJECT)
            case "json_schema":
                return ResponseFormat(
                    FormatKind.JSON_SCHEMA,
                    reading.text(value, "name") or "answer",
                    reading.need_map(value, "schema"),
                    reading.flag(value, "strict"),
                    reading.text(value, "description"),
                )
            case _:
                raise Wrong("it must be text, json_object or json_schema", "type")
