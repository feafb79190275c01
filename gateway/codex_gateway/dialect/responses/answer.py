"""A whole response out of an answer's events: what the stream's last event holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_gateway.dialect.malformed import INCOMPLETE, AnswerFailed
from codex_gateway.dialect.neutral import Failed
from codex_gateway.dialect.responses.writer import ResponsesWriter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codex_gateway.dialect.facts import WayBack
    from codex_gateway.dialect.neutral import Event, JsonObject


def write_answer(events: Iterable[Event], way_back: WayBack, created_s: int, answer_id: str) -> JsonObject:
    """The response.

    :raises AnswerFailed: the answer is an error
    """
    writer = ResponsesWriter(way_back, created_s, answer_id)
    for event in events:
        if isinstance(event, Failed):
            raise AnswerFailed(event.error)
        writer.write(event)
    if writer.response is None:
        raise AnswerFailed(INCOMPLETE)
    return writer.response
