"""Content blocks of answers: Messages' form <-> neutral parts."""

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
    WebSearchCall,
    WebSearchResult,
)
from codex_gateway.dialect.seal import seal

if TYPE_CHECKING:
    from codex_gateway.dialect.facts import WayBack


def read_block(block: Any) -> Part:
    """A content block as it is known at its start, or whole; texts and arguments are left to deltas."""
    if not isinstance(block, dict):
        raise malformed("a content block that is no object")
    match block.get("type"):
        case "text":
            return Text("")
        case "thinking":
            return Thinking("", Dialect.MESSAGES)
        case "redacted_thinking":
            return RedactedThinking(str(block.get("data") or ""))
        case "tool_use":
            name = block.get("name")
            if not name or not isinstance(name, str):
                raise malformed("a tool call without a name")
            return ToolCall(str(block.get("id") or ""), name, "")
        case "server_tool_use" if block.get("name") == "web_search":
            return WebSearchCall(str(block.get("id") or ""), query_of(block.get("input")))
        case "web_search_tool_result":
            content = block.get("content")
            call_id = str(block.get("tool_use_id") or "")
            if isinstance(content, dict):
                return WebSearchResult(call_id, (), str(content.get("error_code") or "unavailable"))
            return WebSearchResult(call_id, tuple(content or ()))
        case _:
            return Opaque(Dialect.MESSAGES, block)


def query_of(value: Any) -> str:
    """The query of a web search's input."""
    query = value.get("query") if isinstance(value, dict) else None
    return query if isinstance(query, str) else ""


def tool_input(call: ToolCall) -> JsonObject:
    """A call's arguments as an object.

    :raises AnswerFailed: they are no JSON object
    """
    try:
        value = msgspec.json.decode(call.arguments or "{}")
    except msgspec.MsgspecError as why:
        raise malformed(f'a call of the tool "{call.name}" whose arguments are not JSON') from why
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise malformed(f'a call of the tool "{call.name}" whose arguments are no object')
    return value


def write_start(part: Part, way_back: WayBack) -> JsonObject | None:
    """The block of `content_block_start`; None for what this dialect does not know."""
    match part:
        case Text() | Refusal():
            return {"type": "text", "text": ""}
        case Thinking():
            return {"type": "thinking", "thinking": "", "signature": ""}
        case RedactedThinking():
            data = part.data if part.origin is Dialect.MESSAGES else seal(part, way_back.endpoint)
            return {"type": "redacted_thinking", "data": data}
        case ToolCall():
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
        case WebSearchCall():
            return {"type": "server_tool_use", "id": search_id(part.id), "name": "web_search", "input": {}}
        case WebSearchResult():
            return result_block(part)
        case Opaque() if part.origin is Dialect.MESSAGES:
            return part.value
        case _:
            return None


def result_block(found: WebSearchResult) -> JsonObject:
    """What a search found."""
    content: Any = list(found.content)
    if found.error_code is not None:
        content = {"type": "web_search_tool_result_error", "error_code": found.error_code}
    return {"type": "web_search_tool_result", "tool_use_id": search_id(found.id), "content": content}


def search_id(call_id: str) -> str:
    """Messages wants the ids of its own tools to begin so."""
    return call_id if call_id.startswith("srvtoolu_") else f"srvtoolu_{call_id}"


def sealed_signature(part: Thinking, way_back: WayBack) -> str:
    """What stands as the signature: Messages' own, or another dialect's secret in a seal."""
    return part.signature if part.origin is Dialect.MESSAGES else seal(part, way_back.endpoint)


def search_results(call: WebSearchCall) -> WebSearchResult:
    """The pages that a Responses endpoint names as the sources of a search."""
    sources = (call.action or {}).get("sources") or ()
    return WebSearchResult(
        call.id,
        tuple(
            {
                "type": "web_search_result",
                "url": source["url"],
                "title": source.get("title") or source["url"],
                "encrypted_content": "",
                "page_age": None,
            }
            for source in sources
            if isinstance(source, dict) and isinstance(source.get("url"), str)
        ),
        None if call.status != "failed" else "unavailable",
    )
