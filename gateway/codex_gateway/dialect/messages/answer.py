"""A whole message out of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_gateway.dialect.answer_ids import messages_id
from codex_gateway.dialect.malformed import INCOMPLETE, AnswerFailed
from codex_gateway.dialect.messages.blocks import (
    result_block,
    sealed_signature,
    search_results,
    tool_input,
    write_start,
)
from codex_gateway.dialect.messages.stop import write_stop
from codex_gateway.dialect.messages.usage import write_usage
from codex_gateway.dialect.neutral import (
    Dialect,
    Refusal,
    StopReason,
    Text,
    Thinking,
    ToolCall,
    WebSearchCall,
)

if TYPE_CHECKING:
    from codex_gateway.dialect.collecting import Answer
    from codex_gateway.dialect.facts import WayBack
    from codex_gateway.dialect.neutral import JsonObject, Part


def write_answer(answer: Answer, way_back: WayBack, created_s: int, answer_id: str) -> JsonObject:  # noqa: ARG001
    """The message.

    :raises AnswerFailed: the answer is no success, or a call's arguments are no JSON
    """
    cut_off = answer.finished.reason in (StopReason.MAX_TOKENS, StopReason.CONTEXT_WINDOW)
    content: list[JsonObject] = []
    for part in answer.parts:
        content += _blocks(part, way_back, cut_off)
    refusal = "".join(part.text for part in answer.parts if isinstance(part, Refusal))
    told = write_stop(answer.finished, refusal)
    if told is None:
        raise AnswerFailed(INCOMPLETE)
    return {
        "id": messages_id(answer.started.id or answer_id),
        "type": "message",
        "role": "assistant",
        "model": way_back.model,
        "content": content,
        **told,
        "usage": write_usage(answer.usage),
    }


def _blocks(part: Part, way_back: WayBack, cut_off: bool) -> list[JsonObject]:
    block = write_start(part, way_back)
    if block is None:
        return []
    match part:
        case Text() | Refusal():
            block["text"] = part.text
            if way_back.upstream is Dialect.MESSAGES and isinstance(part, Text) and part.annotations:
                block["citations"] = list(part.annotations)
        case Thinking():
            block["thinking"] = part.text
            block["signature"] = sealed_signature(part, way_back)
            if not part.text and part.origin is not Dialect.MESSAGES:
                signature = block["signature"]
                return [{"type": "redacted_thinking", "data": signature}] if signature else []
        case ToolCall():
            try:
                block["input"] = tool_input(part)
            except AnswerFailed:
                # What the limit of tokens cut off is told by the stop reason.
                if not cut_off:
                    raise
        case WebSearchCall():
            block["input"] = {"query": part.query}
            if way_back.upstream is Dialect.RESPONSES:
                return [block, result_block(search_results(part))]
        case _:
            pass
    return [block]
