"""Writes the neutral request as OpenAI Responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_gateway.dialect.chat.write_request import custom_as_function
from codex_gateway.dialect.effort import effort_of
from codex_gateway.dialect.neutral import (
    ChoiceMode,
    Dialect,
    FormatKind,
    HostedTool,
    Request,
    ResponseFormat,
    Tool,
    ToolChoice,
    ToolKind,
)
from codex_gateway.dialect.prepare import Prepared, cache_key, choice_to_send, head_text, user_to_send
from codex_gateway.dialect.responses.write_items import write_items
from codex_gateway.dialect.schemas import object_schema

if TYPE_CHECKING:
    from codex_gateway.dialect.facts import Facts
    from codex_gateway.dialect.neutral import JsonObject

ENCRYPTED = "reasoning.encrypted_content"
MIN_OUTPUT_TOKENS = 16
"""OpenAI refuses less."""


def write_request(prepared: Prepared, facts: Facts) -> JsonObject:
    """The body to send.

    :raises BadInput: a part has no counterpart in Responses
    """
    request = prepared.request
    body: JsonObject = {"model": facts.model}
    head = head_text(request)
    if head:
        body["instructions"] = head
    body["input"] = write_items(prepared, facts)
    tools = _tools(prepared)
    if tools:
        body["tools"] = tools
        choice = choice_to_send(request.tool_choice, _sent_names(tools), prepared)
        if choice:
            body["tool_choice"] = _choice(choice)
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls
    if request.max_tokens is not None:
        body["max_output_tokens"] = max(request.max_tokens, MIN_OUTPUT_TOKENS)
    reasoning = _reasoning(request, facts)
    text = _text(request, facts)
    for key, value in (
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("reasoning", reasoning or None),
        ("text", text or None),
        ("top_logprobs", request.top_logprobs),
    ):
        if value is not None:
            body[key] = value
    # Nothing is kept at the endpoint unless the client says so: histories come whole with every request.
    body["store"] = bool(request.store) if request.origin is not Dialect.MESSAGES else False
    include = list(request.include)
    if facts.native and request.origin is not Dialect.CHAT and ENCRYPTED not in include and not body["store"]:
        include.append(ENCRYPTED)
    if include:
        body["include"] = include
    if request.stream:
        body["stream"] = True
    if facts.native or request.origin is Dialect.RESPONSES:
        _add_native(body, request)
    if request.origin is Dialect.RESPONSES:
        body |= request.extra
    return body


def _add_native(body: JsonObject, request: Request) -> None:
    """What only OpenAI itself knows."""
    of_openai = request.origin is not Dialect.MESSAGES
    for key, value in (
        ("prompt_cache_key", cache_key(request)),
        ("safety_identifier", user_to_send(request.user)),
        ("service_tier", request.service_tier if of_openai else None),
        ("metadata", request.metadata if of_openai else None),
    ):
        if value is not None:
            body[key] = value


def _reasoning(request: Request, facts: Facts) -> JsonObject:
    wanted = request.reasoning
    if wanted is None:
        return {}
    out: JsonObject = {}
    effort = effort_of(wanted, native=facts.native or request.origin is Dialect.RESPONSES)
    if effort:
        out["effort"] = effort
    summary = wanted.summary
    if summary is None and request.origin is Dialect.MESSAGES and wanted.enabled and wanted.display != "omitted":
        # A Messages client that lets the model think wants to see it.
        summary = "auto"
    if summary:
        out["summary"] = summary
    return out


def _text(request: Request, facts: Facts) -> JsonObject:
    out: JsonObject = {}
    if request.verbosity and (facts.native or request.origin is Dialect.RESPONSES):
        out["verbosity"] = request.verbosity
    form = _format(request.response_format)
    if form:
        out["format"] = form
    return out


def _format(wanted: ResponseFormat | None) -> JsonObject | None:
    if wanted is None or wanted.kind is FormatKind.TEXT:
        return None
    if wanted.kind is FormatKind.JSON_OBJECT:
        return {"type": "json_object"}
    out: JsonObject = {"type": "json_schema", "name": wanted.name, "schema": wanted.schema or {}}
    if wanted.description:
        out["description"] = wanted.description
    if wanted.strict is not None:
        out["strict"] = wanted.strict
    return out


def _tools(prepared: Prepared) -> list[JsonObject]:
    """Tools in their order; those of a namespace together where its first one stands."""
    out: list[JsonObject] = []
    spaces: dict[str, JsonObject] = {}
    for tool in prepared.request.tools:
        if isinstance(tool, HostedTool):
            hosted = _hosted(tool, prepared)
            if hosted:
                out.append(hosted)
            continue
        written = _tool(tool, prepared)
        if not tool.namespace or not prepared.namespaces:
            out.append(written)
            continue
        space = spaces.get(tool.namespace)
        if space is None:
            space = {"type": "namespace", "name": tool.namespace, "description": tool.namespace, "tools": []}
            spaces[tool.namespace] = space
            out.append(space)
        space["tools"].append(written)
    return out


def _tool(tool: Tool, prepared: Prepared) -> JsonObject:
    name = prepared.names.sent(tool.namespace, tool.name)
    match tool.kind:
        case ToolKind.CUSTOM if prepared.custom_tools:
            out: JsonObject = {"type": "custom", "name": name}
            if tool.description:
                out["description"] = tool.description
            if tool.format:
                out["format"] = tool.format
            return out
        case ToolKind.CUSTOM:
            return {"type": "function", "name": name, **custom_as_function(tool), "strict": False}
        case ToolKind.LOCAL_SHELL | ToolKind.TOOL_SEARCH if prepared.namespaces:
            return tool.extra
        case _:
            pass
    out = {"type": "function", "name": name}
    if tool.description:
        out["description"] = tool.description
    out["parameters"] = object_schema(tool.parameters)
    # Responses is strict unless told otherwise, and refuses schemas that strictness does not allow.
    out["strict"] = bool(tool.strict)
    if prepared.request.origin is Dialect.RESPONSES and tool.kind is ToolKind.FUNCTION:
        out |= tool.extra
    return out


def _hosted(tool: HostedTool, prepared: Prepared) -> JsonObject | None:
    if tool.origin is Dialect.RESPONSES:
        return tool.value if tool.type != "web_search" or prepared.web_search else None
    if tool.type != "web_search" or not prepared.web_search:
        return None
    out: JsonObject = {"type": "web_search"}
    domains = tool.value.get("allowed_domains")
    if domains:
        out["filters"] = {"allowed_domains": domains}
    place = tool.value.get("user_location")
    if isinstance(place, dict):
        # Chat keeps the place one level deeper.
        place = place.get("approximate", place)
        out["user_location"] = {"type": "approximate", **{key: value for key, value in place.items() if key != "type"}}
    if tool.value.get("search_context_size"):
        out["search_context_size"] = tool.value["search_context_size"]
    return out


def _sent_names(tools: list[JsonObject]) -> set[str]:
    names: set[str] = set()
    for tool in tools:
        names.add(str(tool.get("name") or tool["type"]))
        if tool["type"] == "namespace":
            names.update(str(inner["name"]) for inner in tool["tools"])
    return names


def _choice(choice: ToolChoice) -> str | JsonObject:
    mode = str(choice.mode)
    if choice.allowed is not None:
        tools = [{"type": "function", "name": name} for name in choice.allowed]
        return {"type": "allowed_tools", "mode": mode, "tools": tools}
    if choice.mode is ChoiceMode.NAMED:
        if choice.name is None:
            return {"type": choice.hosted}
        return {"type": "custom" if choice.kind is ToolKind.CUSTOM else "function", "name": choice.name}
    return mode
