"""Reads the tools of Responses requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_gateway.dialect import reading
from codex_gateway.dialect.neutral import Dialect, HostedTool, Tool, ToolKind
from codex_gateway.dialect.reading import Wrong

if TYPE_CHECKING:
    from codex_gateway.dialect.neutral import JsonObject

_KNOWN = frozenset(("type", "name", "description", "parameters", "strict", "format"))

LOCAL_SHELL = "local_shell"
TOOL_SEARCH = "tool_search"

_LOCAL_SHELL_PARAMETERS: JsonObject = {
    "type": "object",
    "properties": {
        "command": {"type": "array", "items": {"type": "string"}, "description": "Program and arguments."},
        "timeout_ms": {"type": "integer", "description": "Time limit in milliseconds."},
        "working_directory": {"type": "string", "description": "Where to run it."},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
        "user": {"type": "string"},
    },
    "required": ["command"],
}
_TOOL_SEARCH_PARAMETERS: JsonObject = {
    "type": "object",
    "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
    "required": ["query"],
}


def read_tool(tool: JsonObject) -> list[Tool | HostedTool]:
    """A tool; the tools of a namespace.

    :raises Wrong: with the path of what is wrong
    """
    kind = reading.need_text(tool, "type")
    match kind:
        case "function" | "custom":
            return [_tool(tool, ToolKind(kind))]
        case "namespace":
            name = reading.need_text(tool, "name")
            return [*reading.each(reading.need_list(tool, "tools"), "tools", lambda inner: _inner(inner, name))]
        case "local_shell":
            description = "Runs a shell command on the user's machine and gives its output."
            return [Tool(LOCAL_SHELL, description, _LOCAL_SHELL_PARAMETERS, kind=ToolKind.LOCAL_SHELL, extra=tool)]
        case "tool_search" if tool.get("execution") == "client":
            parameters = reading.mapping(tool, "parameters") or _TOOL_SEARCH_PARAMETERS
            description = reading.text(tool, "description") or "Finds tools that can be called."
            return [Tool(TOOL_SEARCH, description, parameters, kind=ToolKind.TOOL_SEARCH, extra=tool)]
        case _:
            return [HostedTool("web_search" if kind.startswith("web_search") else kind, Dialect.RESPONSES, tool)]


def _inner(tool: JsonObject, namespace: str) -> Tool:
    kind = reading.need_text(tool, "type")
    if kind not in ("function", "custom"):
        raise Wrong("it must be function or custom in a namespace", "type")
    return _tool(tool, ToolKind(kind), namespace)


def _tool(tool: JsonObject, kind: ToolKind, namespace: str | None = None) -> Tool:
    # Chat's nested form is taken too: several clients send it.
    source = tool["function"] if kind is ToolKind.FUNCTION and isinstance(tool.get("function"), dict) else tool
    return Tool(
        reading.need_text(source, "name"),
        reading.text(source, "description"),
        reading.mapping(source, "parameters") if kind is ToolKind.FUNCTION else None,
        reading.flag(source, "strict"),
        kind,
        reading.mapping(source, "format"),
        namespace,
        extra=reading.rest(source, _KNOWN),
    )
