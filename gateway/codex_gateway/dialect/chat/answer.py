"""A whole completion out of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_gateway.dialect.answer_ids import chat_id
from codex_gateway.dialect.chat.stop import write_stop
from codex_gateway.dialect.chat.usage import write_usage
from codex_gateway.dialect.citations import nested, url_citation
from codex_gateway.dialect.malformed import INCOMPLETE, AnswerFailed
from codex_gateway.dialect.neutral import Refusal, Text, Thinking, ToolCall, ToolKind

if TYPE_CHECKING:
    from codex_gateway.dialect.collecting import Answer
    from codex_gateway.dialect.facts import WayBack
    from codex_gateway.dialect.neutral import JsonObject


def write_answer(answer: Answer, way_back: WayBack, created_s: int, answer_id: str) -> JsonObject:
    """The completion.

    :raises AnswerFailed: the answer is no success
    """
    texts: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    calls: list[JsonObject] = []
    citations: list[JsonObject] = []
    length = 0
    for part in answer.parts:
        match part:
            case Text():
                cited = (url_citation(one, way_back.upstream, len(part.text), length) for one in part.annotations)
                citations += [nested(one) for one in cited if one is not None]
                texts.append(part.text)
                length += len(part.text)
            case Thinking():
                thoughts.append(part.text)
            case Refusal():
                refusals.append(part.text)
            case ToolCall():
                calls.append(_call(part))
            case _:
                pass
    reason = write_stop(answer.finished, bool(refusals))
    if reason is None:
        raise AnswerFailed(INCOMPLETE)
    message: JsonObject = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": "".join(refusals) if refusals else None,
    }
    if any(thoughts):
        message["reasoning_content"] = "".join(thoughts)
    if citations:
        message["annotations"] = citations
    if calls:
        message["tool_calls"] = calls
    return {
        "id": chat_id(answer.started.id or answer_id),
        "object": "chat.completion",
        "created": answer.started.created_s or created_s,
        "model": way_back.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": write_usage(answer.usage),
    }


def _call(call: ToolCall) -> JsonObject:
    if call.kind is ToolKind.CUSTOM:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
