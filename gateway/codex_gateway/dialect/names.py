"""Names of tools and ids of calls as an endpoint accepts them, and back.

OpenAI and Anthropic take `[a-zA-Z0-9_-]` only, Chat and Responses 64 characters, and a name may come only once. Codex's
namespaces are flattened (`mcp__x` + `run` -> `mcp__x__run`). The same names give the same result in every turn, so
histories and prompt caches stay whole.
"""

from __future__ import annotations

import re
from hashlib import blake2s
from typing import TYPE_CHECKING

import msgspec

from codex_gateway.dialect.facts import ToolName
from codex_gateway.dialect.neutral import (
    Dialect,
    Message,
    Part,
    Request,
    Tool,
    ToolCall,
    ToolChoice,
    ToolKind,
    ToolResult,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NAME = 64
"""Of Chat and Responses; Messages takes 128, but a conversation may move to another endpoint."""
MAX_CALL_ID = {Dialect.MESSAGES: 64, Dialect.CHAT: 40, Dialect.RESPONSES: 64}
"""Characters of a call id: OpenAI answers 400 to longer ones. Anthropic gives no limit."""

_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")


def short_hash(text: str, length: int = 8) -> str:
    """A stable hash in hexadecimal digits."""
    return blake2s(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()[:length]


def clean(name: str, limit: int = MAX_NAME) -> str:
    """`name` in allowed characters and no longer than `limit`; different names stay different."""
    cleaned = _FOREIGN.sub("_", name)
    if cleaned == name and 0 < len(name) <= limit:
        return name
    return f"{cleaned[: limit - 9]}_{short_hash(name)}"


def joined(namespace: str | None, name: str) -> str:
    """A namespaced name in one."""
    if not namespace:
        return name
    return f"{namespace}{name}" if namespace.endswith("__") else f"{namespace}__{name}"


class Names:
    """What the tools of one request are called at the endpoint."""

    def __init__(self, request: Request, *, keep_namespaces: bool, keep_custom: bool) -> None:
        self._keep_namespaces = keep_namespaces
        self._keep_custom = keep_custom
        self._sent: dict[tuple[str | None, str], str] = {}
        self._taken: dict[str, ToolName] = {}
        kinds: dict[tuple[str | None, str], ToolKind] = {}
        for key, kind in _names_of(request):
            kinds.setdefault(key, kind)
        # Direct tools first: they keep their names in a clash.
        for (namespace, name), kind in sorted(kinds.items(), key=lambda item: item[0][0] is not None):
            self._add(namespace, name, kind)

    def _add(self, namespace: str | None, name: str, kind: ToolKind) -> str:
        own = namespace if self._keep_namespaces else None
        wanted = clean(name if self._keep_namespaces else joined(namespace, name))
        key = f"{own}.{wanted}" if own else wanted
        number = 2
        while key in self._taken:
            wanted = f"{clean(wanted, MAX_NAME - 4)}_{number}"
            key = f"{own}.{wanted}" if own else wanted
            number += 1
        self._taken[key] = ToolName(name, namespace, kind)
        self._sent[namespace, name] = wanted
        return wanted

    def sent(self, namespace: str | None, name: str) -> str:
        """The name to send."""
        return self._sent.get((namespace, name)) or self._add(namespace, name, ToolKind.FUNCTION)

    def sent_allowed(self, allowed: str) -> str:
        """The name to send of what `allowed_tools` names (`namespace.name`, or a name)."""
        namespace, dot, name = allowed.partition(".")
        return self.sent(namespace, name) if dot and (namespace, name) in self._sent else self.sent(None, allowed)

    def way_back(self) -> dict[str, ToolName]:
        """By the name that was sent: what the client calls it, where anything differs."""
        return {
            sent: tool
            for sent, tool in self._taken.items()
            if sent != tool.name
            or (tool.namespace and not self._keep_namespaces)
            or (tool.kind is not ToolKind.FUNCTION and not self._keep_custom)
        }


def _names_of(request: Request) -> Iterator[tuple[tuple[str | None, str], ToolKind]]:
    for tool in request.tools:
        if isinstance(tool, Tool):
            yield (tool.namespace, tool.name), tool.kind
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                yield (part.namespace, part.name), part.kind


def with_clean_ids(request: Request, dialect: Dialect, *, strict: bool) -> tuple[Request, dict[str, str]]:
    """The request with call ids that the endpoint takes, and which id stands for which.

    Messages demands `[a-zA-Z0-9_-]` always. `strict`: OpenAI's limits of length. Others keep their ids: some endpoints
    want exactly the ids back that they gave.
    """
    limit = MAX_CALL_ID[dialect]
    changed: dict[str, str] = {}

    def fresh(call_id: str) -> str:
        if dialect is Dialect.MESSAGES:
            sent = clean(call_id, limit=max(limit, len(call_id)))
        elif strict and len(call_id) > limit:
            sent = clean(call_id, limit)
        else:
            return call_id
        if sent != call_id:
            changed[sent] = call_id
        return sent

    messages: list[Message] = []
    for message in request.messages:
        parts: list[Part] = []
        touched = False
        for part in message.parts:
            if isinstance(part, (ToolCall, ToolResult)):
                sent = fresh(part.id)
                if sent != part.id:
                    touched = True
                    part = msgspec.structs.replace(part, id=sent)
            parts.append(part)
        messages.append(Message(message.role, tuple(parts), message.name, message.phase) if touched else message)
    return (msgspec.structs.replace(request, messages=tuple(messages)) if changed else request), changed


def with_allowed_only(request: Request) -> Request:
    """For endpoints without allowed_tools: the other tools are left out."""
    choice = request.tool_choice
    if choice is None or choice.allowed is None:
        return request
    allowed = set(choice.allowed)
    tools = tuple(
        tool
        for tool in request.tools
        if (
            (tool.name in allowed or f"{tool.namespace}.{tool.name}" in allowed)
            if isinstance(tool, Tool)
            else tool.type in allowed
        )
    )
    return msgspec.structs.replace(request, tools=tools, tool_choice=ToolChoice(choice.mode))
