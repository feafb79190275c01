"""Output items: Responses' form <-> neutral parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from codex_gateway.dialect.malformed import malformed
from codex_gateway.dialect.neutral import (
    Dialect,
    JsonObject,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolKind,
    WebSearchCall,
)
from codex_gateway.dialect.seal import seal

if TYPE_CHECKING:
    from codex_gateway.dialect.facts import WayBack

PARAGRAPH = "\n\n"
"""Between the parts of a summary where a dialect has only one text."""


def read_item(item: Any) -> Part | None:
    """An output item as it is known at its start; texts and arguments are left to deltas. None for a message, whose
    content parts are parts of their own.

    :raises AnswerFailed: it is no item
    """
    if not isinstance(item, dict):
        raise malformed("an output item that is no object")
    match item.get("type"):
        case "message":
            return None
        case "reasoning":
            return Thinking("", Dialect.RESPONSES, item_id=str(item.get("id") or ""))
        case "function_call" | "custom_tool_call" as kind:
            name, call_id = item.get("name"), item.get("call_id") or item.get("id")
            if not name or not isinstance(name, str):
                raise malformed("a tool call without a name")
            if not call_id or not isinstance(call_id, str):
                raise malformed("a tool call without a call_id")
            namespace = item.get("namespace")
            return ToolCall(
                call_id,
                name,
                "",
                ToolKind.FUNCTION if kind == "function_call" else ToolKind.CUSTOM,
                namespace if isinstance(namespace, str) else None,
                str(item.get("id") or ""),
            )
        case "web_search_call":
            return read_search(item)
        case _:
            return Opaque(Dialect.RESPONSES, item)


def read_search(item: JsonObject) -> WebSearchCall:
    """A web_search_call, at its start or whole."""
    action = item.get("action")
    action = action if isinstance(action, dict) else None
    query = (action or {}).get("query") or next(iter((action or {}).get("queries") or ()), "")
    return WebSearchCall(
        str(item.get("id") or ""),
        query if isinstance(query, str) else "",
        str(item.get("status") or "completed"),
        action,
    )


def said_of(item: JsonObject) -> str:
    """The arguments or the input of a call item."""
    said = item.get("arguments") if item.get("type") == "function_call" else item.get("input")
    if isinstance(said, dict):
        return msgspec.json.encode(said).decode()
    return said if isinstance(said, str) else ""


def texts_of(value: Any) -> list[str]:
    """The texts of a reasoning item's `summary` or `content`."""
    if not isinstance(value, list):
        return []
    return [entry["text"] for entry in value if isinstance(entry, dict) and isinstance(entry.get("text"), str)]


def reasoning_item(part: Thinking, item_id: str, texts: list[str], way_back: WayBack) -> JsonObject:
    """Reasoning: its own item where an endpoint of this dialect made it. Another's text is shown as a summary, and
    its secret travels sealed."""
    item: JsonObject = {
        "id": item_id,
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": text} for text in texts if text],
    }
    encrypted = part.encrypted_content if part.origin is Dialect.RESPONSES else seal(part, way_back.endpoint)
    if encrypted:
        item["encrypted_content"] = encrypted
    return item


def redacted_item(part: RedactedThinking, item_id: str, way_back: WayBack) -> JsonObject:
    """Reasoning of which nothing may be shown."""
    return {
        "id": item_id,
        "type": "reasoning",
        "summary": [],
        "encrypted_content": seal(part, way_back.endpoint),
    }


def call_item(call: ToolCall, item_id: str, arguments: str, status: str) -> JsonObject:
    """A call of any kind. Whole (`status` completed) or as it begins, without arguments."""
    space = {"namespace": call.namespace} if call.namespace else {}
    match call.kind:
        case ToolKind.FUNCTION:
            return {
                "id": item_id,
                "type": "function_call",
                "status": status,
                "call_id": call.id,
                "name": call.name,
                **space,
                "arguments": arguments,
            }
        case ToolKind.CUSTOM:
            return {
                "id": item_id,
                "type": "custom_tool_call",
                "status": status,
                "call_id": call.id,
                "name": call.name,
                **space,
                "input": arguments,
            }
        case ToolKind.LOCAL_SHELL:
            action: JsonObject = {
                "type": "exec",
                "env": {},
                "timeout_ms": None,
                "working_directory": None,
                "user": None,
            }
            return {
                "id": item_id,
                "type": "local_shell_call",
                "status": status,
                "call_id": call.id,
                "action": {**action, "command": [], **_object(call, arguments)},
            }
        case ToolKind.TOOL_SEARCH:
            return {
                "id": item_id,
                "type": "tool_search_call",
                "status": status,
                "call_id": call.id,
                "execution": "client",
                "arguments": _object(call, arguments),
            }


def _object(call: ToolCall, arguments: str) -> JsonObject:
    if not arguments:
        return {}
    try:
        value = msgspec.json.decode(arguments)
    except msgspec.MsgspecError as why:
        raise malformed(f'a call of the tool "{call.name}" whose arguments are not JSON') from why
    return value if isinstance(value, dict) else {}


def search_item(call: WebSearchCall, item_id: str, status: str) -> JsonObject:
    """A search that the endpoint did itself."""
    action = call.action or {"type": "search", "query": call.query, "queries": [call.query] if call.query else []}
    return {"id": item_id, "type": "web_search_call", "status": status, "action": action}


def content_part(part: Text | Refusal, text: str, annotations: list[JsonObject]) -> JsonObject:
    """A content part of a message."""
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}


def message_item(part: Text | Refusal, item_id: str, content: list[JsonObject], status: str) -> JsonObject:
    """A message of the model that begins with `part`."""
    item: JsonObject = {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content}
    if isinstance(part, Text) and part.phase is not None:
        item["phase"] = part.phase
    return item
