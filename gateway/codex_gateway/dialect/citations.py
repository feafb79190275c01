"""Citations of web pages, between the dialects' forms."""

from __future__ import annotations

from typing import assert_never

from codex_gateway.dialect.neutral import Dialect, JsonObject


def url_citation(annotation: JsonObject, origin: Dialect, text_length: int, offset: int = 0) -> JsonObject | None:
    """OpenAI's citation (Responses' flat form) of a text part; None where it cites no web page.

    Messages cites with a whole text block, so the citation covers the part's `text_length` characters. `offset` is
    where the part begins in the text that the citation is written for.
    """
    match origin:
        case Dialect.RESPONSES:
            found = annotation if annotation.get("type") == "url_citation" else None
        case Dialect.CHAT:
            found = annotation.get("url_citation")
        case Dialect.MESSAGES:
            cites_page = annotation.get("type") in ("web_search_result_location", "search_result_location")
            found = annotation if cites_page else None
        case _:
            assert_never(origin)
    if not isinstance(found, dict):
        return None
    url = found.get("url") or found.get("source")
    if not isinstance(url, str):
        return None
    start, end = found.get("start_index"), found.get("end_index")
    return {
        "type": "url_citation",
        "start_index": offset + (start if isinstance(start, int) else 0),
        "end_index": offset + (end if isinstance(end, int) else text_length),
        "url": url,
        "title": found.get("title") or "",
    }


def nested(citation: JsonObject) -> JsonObject:
    """Chat's form of a flat citation."""
    return {"type": "url_citation", "url_citation": {key: citation[key] for key in citation if key != "type"}}
