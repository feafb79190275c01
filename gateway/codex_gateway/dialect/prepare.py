"""What every conversion does to the neutral request before it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from codex_control.errors import BadInput
from msgspec import Struct

from codex_gateway.dialect.names import Names, short_hash, with_allowed_only, with_clean_ids
from codex_gateway.dialect.neutral import (
    Audio,
    ChoiceMode,
    Dialect,
    File,
    HostedTool,
    Image,
    Message,
    RedactedThinking,
    Request,
    Role,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolKind,
    ToolResult,
)
from codex_gateway.dialect.repair import repair, with_user_turn, without_tools

if TYPE_CHECKING:
    from codex_gateway.dialect.facts import Facts
    from codex_gateway.dialect.neutral import JsonObject, Part

BILLING_HEADER = "x-anthropic-billing-header:"
"""Claude Code's first system block begins so. It changes with every request, so elsewhere it only spoils caches."""

_BASH: JsonObject = {
    "type": "object",
    "properties": {"command": {"type": "string"}, "restart": {"type": "boolean"}},
}
_EDITOR: JsonObject = {
    "type": "object",
    "properties": {
        "command": {"type": "string", "enum": ["view", "create", "str_replace", "insert", "undo_edit"]},
        "path": {"type": "string"},
        "file_text": {"type": "string"},
        "insert_line": {"type": "integer"},
        "insert_text": {"type": "string"},
        "old_str": {"type": "string"},
        "new_str": {"type": "string"},
        "view_range": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["command", "path"],
}


class Prepared(Struct, frozen=True):
    """A request that is ready to be written."""

    request: Request
    names: Names
    call_ids: dict[str, str]
    """Ids that were sent to the client's ids, where they differ."""
    web_search: bool
    custom_tools: bool
    namespaces: bool


def prepare(request: Request, facts: Facts) -> Prepared:
    """The request in an order, with names and ids, and with tools that the endpoint takes."""
    responses = facts.dialect is Dialect.RESPONSES
    own = responses and (facts.native or request.origin is Dialect.RESPONSES)
    custom_tools = responses and (own if facts.custom_tools is None else facts.custom_tools)
    namespaces = responses and (own if facts.namespaces is None else facts.namespaces)
    request = with_user_turn(request)
    if not (facts.dialect is Dialect.MESSAGES and facts.native):
        request = without_billing_header(request)
    if facts.dialect is not request.origin:
        _refuse_what_stays(request, facts.dialect)
        request = _with_bridged_tools(request)
    if facts.no_tools:
        request = without_tools(request)
    if not facts.native or facts.dialect is Dialect.MESSAGES:
        request = with_allowed_only(request)
    request = msgspec.structs.replace(request, messages=repair(request.messages))
    request, call_ids = with_clean_ids(request, facts.dialect, strict=facts.native)
    names = Names(request, keep_namespaces=namespaces, keep_custom=custom_tools)
    web_search = facts.native if facts.web_search is None else facts.web_search
    return Prepared(request, names, call_ids, web_search, custom_tools, namespaces)


def _refuse_what_stays(request: Request, dialect: Dialect) -> None:
    """Files that only another endpoint knows, and sounds that the dialect has no place for."""
    for message in request.messages:
        for part in message.parts:
            for inner in part.parts if isinstance(part, ToolResult) else (part,):
                if isinstance(inner, (Image, File)) and inner.file_id:
                    raise BadInput(
                        f"the file {inner.file_id} is named by an id",
                        why="only the endpoint that keeps the file knows the id, and another one serves this model",
                        next_step="send the file's data",
                    )
                if isinstance(inner, Audio) and dialect is not Dialect.CHAT:
                    raise BadInput("the request holds audio", why="the endpoint's dialect has no place for it")


def without_billing_header(request: Request) -> Request:
    """The request without Claude Code's billing header."""
    if not any(text.text.startswith(BILLING_HEADER) for text in request.system):
        return request
    kept = tuple(text for text in request.system if not text.text.startswith(BILLING_HEADER))
    return msgspec.structs.replace(request, system=kept)


def _with_bridged_tools(request: Request) -> Request:
    """Anthropic's typed client tools as functions: the client runs them whoever calls."""
    if not any(isinstance(tool, HostedTool) for tool in request.tools):
        return request
    return msgspec.structs.replace(request, tools=tuple(map(_bridged, request.tools)))


def _bridged(tool: Tool | HostedTool) -> Tool | HostedTool:
    if not isinstance(tool, HostedTool) or tool.origin is not Dialect.MESSAGES:
        return tool
    name = tool.value.get("name")
    if tool.type.startswith("bash_"):
        return Tool(str(name or "bash"), "Runs a command in a shell that keeps its state.", _BASH)
    if tool.type.startswith("text_editor_"):
        return Tool(str(name or "str_replace_based_edit_tool"), "Shows, makes and changes text files.", _EDITOR)
    return tool


def thinking_to_send(part: Thinking | RedactedThinking, facts: Facts) -> Thinking | RedactedThinking | None:
    """Reasoning that the endpoint believes: made in its dialect, with its proof, and not on another endpoint.

    None where it must be left out. A proof is never forged and never shown to another family.
    """
    if facts.drop_signatures or part.origin is not facts.dialect:
        return None
    match part:
        case RedactedThinking():
            return part
        case Thinking(origin=Dialect.MESSAGES):
            return part if part.signature else None
        case Thinking(origin=Dialect.RESPONSES):
            elsewhere = bool(part.endpoint and facts.endpoint and part.endpoint != facts.endpoint)
            return part if part.encrypted_content and not elsewhere and not facts.drop_encrypted else None
        case _:
            return None


def system_as_user(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Words of the system for endpoints that take them only at the head: a user turn that says what it is."""
    text = "\n\n".join(part.text for part in parts if isinstance(part, Text))
    return (Text(f"<system>\n{text}\n</system>"),)


def with_system_as_user(request: Request) -> Request:
    """System messages in mid-conversation as user turns, each at its place."""
    if not any(message.role is Role.SYSTEM for message in request.messages):
        return request
    messages = tuple(
        Message(Role.USER, system_as_user(message.parts)) if message.role is Role.SYSTEM else message
        for message in request.messages
    )
    return msgspec.structs.replace(request, messages=messages)


def choice_to_send(choice: ToolChoice | None, sent: set[str], prepared: Prepared) -> ToolChoice | None:
    """The choice under the names that were sent; None where there is no tool, or not the one that was named."""
    if choice is None or not sent:
        return None
    if choice.allowed is not None:
        names = [prepared.names.sent_allowed(name) for name in choice.allowed]
        kept = tuple(name for name in names if name in sent)
        return ToolChoice(choice.mode, allowed=kept) if kept else ToolChoice(ChoiceMode.AUTO)
    if choice.mode is not ChoiceMode.NAMED:
        return choice
    if choice.name is None:
        hosted = choice.hosted or ""
        if hosted in sent:
            # A hosted tool that was bridged to a function bears the name of its type.
            return choice if hosted == "web_search" else ToolChoice(ChoiceMode.NAMED, hosted)
        return None
    if choice.namespace is None and _is_web_search(choice.name, prepared.request):
        # Messages names its own tools like any other.
        return ToolChoice(ChoiceMode.NAMED, hosted="web_search") if "web_search" in sent else None
    name = prepared.names.sent(choice.namespace, choice.name)
    kind = choice.kind if prepared.custom_tools else ToolKind.FUNCTION
    return ToolChoice(ChoiceMode.NAMED, name, kind=kind) if name in sent else None


def cache_key(request: Request) -> str | None:
    """A stable key for OpenAI's prompt cache where the client marked what to cache in Anthropic's way.

    The same conversation has the same key in every turn: user, system text and the first message.
    """
    if request.prompt_cache_key:
        return request.prompt_cache_key
    if not _marks_cache(request):
        return None
    first = next((message for message in request.messages if message.role is Role.USER), None)
    seen = [request.user or "", *(text.text for text in request.system)]
    seen += [part.text for part in (first.parts if first else ()) if isinstance(part, Text)]
    return f"gw-{short_hash(chr(0).join(seen), 32)}"


def _marks_cache(request: Request) -> bool:
    if request.cache_control or any(text.cache_control for text in request.system):
        return True
    if any(isinstance(tool, Tool) and tool.cache_control for tool in request.tools):
        return True
    return any(getattr(part, "cache_control", None) for message in request.messages for part in message.parts)


def user_to_send(user: str | None) -> str | None:
    """The end user as OpenAI takes it: at most 64 characters."""
    return user if not user or len(user) <= 64 else short_hash(user, 32)


def head_text(request: Request) -> str:
    """All system text at the head, in one."""
    return "\n\n".join(text.text for text in request.system if text.text)


def _is_web_search(name: str, request: Request) -> bool:
    return any(
        isinstance(tool, HostedTool) and tool.type == "web_search" and tool.value.get("name") == name
        for tool in request.tools
    )
