"""Contract case 20 in answers: Messages' web search <-> Responses' `web_search_call`."""

from __future__ import annotations

import pytest
from codex_gateway.dialect.conversion import convert_answer
from codex_gateway.dialect.convert import Dialect

from tests.support.converting import convert, items_of, message_of, way_back
from tests.support.dialect_streams import (
    chat_stream,
    completion,
    message,
    messages_stream,
    output_message,
    response,
    responses_stream,
)

PAGE = {
    "type": "web_search_result",
    "url": "https://a.example",
    "title": "A",
    "encrypted_content": "Eq",
    "page_age": None,
}
CITED = {
    "type": "web_search_result_location",
    "url": "https://a.example",
    "title": "A",
    "cited_text": "…",
    "encrypted_index": "Eo",
}
SEARCHED = message(
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "codex"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [PAGE]},
    {"type": "text", "text": "I found: "},
    {"type": "text", "text": "it is A.", "citations": [CITED]},
)
FLAT = {"type": "url_citation", "start_index": 4, "end_index": 5, "url": "https://b.example", "title": "B"}
FOUND = response(
    {
        "id": "ws_1",
        "type": "web_search_call",
        "status": "completed",
        "action": {"type": "search", "query": "codex", "sources": [{"type": "url", "url": "https://b.example"}]},
    },
    output_message("See B.", annotations=[FLAT]),
)


def test_messages_to_responses() -> None:
    seen = convert(messages_stream(SEARCHED), Dialect.MESSAGES, Dialect.RESPONSES)
    search, text = items_of(seen)
    assert (search["type"], search["status"], search["action"]["query"]) == ("web_search_call", "completed", "codex")
    assert [part["text"] for part in text["content"]] == ["I found: ", "it is A."]
    cited = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 8}
    assert text["content"][1]["annotations"] == [cited]
    assert seen.of("response.output_text.annotation.added")[0]["annotation"] == cited
    assert [kind for kind in seen.kinds() if "web_search" in kind] == [
        f"response.web_search_call.{word}" for word in ("in_progress", "searching", "completed")
    ]


def test_messages_to_chat() -> None:
    seen = convert(messages_stream(SEARCHED), Dialect.MESSAGES, Dialect.CHAT)
    assert "".join(delta.get("content") or "" for delta in seen.deltas()) == "I found: it is A."
    [annotations] = [delta["annotations"] for delta in seen.deltas() if "annotations" in delta]
    assert annotations[0]["url_citation"]["start_index"] == 9
    assert annotations[0]["url_citation"]["end_index"] == 17
    assert seen.finish_reason() == "stop"
    assert not any("tool_calls" in delta for delta in seen.deltas())


def test_responses_to_messages() -> None:
    content = message_of(convert(responses_stream(FOUND), Dialect.RESPONSES, Dialect.MESSAGES))["content"]
    assert [block["type"] for block in content] == ["server_tool_use", "web_search_tool_result", "text"]
    assert content[0]["input"] == {"query": "codex"}
    assert content[1]["tool_use_id"] == content[0]["id"] == "srvtoolu_ws_1"
    assert [page["url"] for page in content[1]["content"]] == ["https://b.example"]


def test_responses_to_chat() -> None:
    deltas = convert(responses_stream(FOUND), Dialect.RESPONSES, Dialect.CHAT).deltas()
    [annotations] = [delta["annotations"] for delta in deltas if "annotations" in delta]
    assert annotations == [{"type": "url_citation", "url_citation": {key: FLAT[key] for key in FLAT if key != "type"}}]


def test_chats_citations_reach_responses() -> None:
    nested = [{"type": "url_citation", "url_citation": {key: FLAT[key] for key in FLAT if key != "type"}}]
    item = items_of(convert(chat_stream(completion("See B.", annotations=nested)), Dialect.CHAT, Dialect.RESPONSES))[0]
    assert item["content"][0]["annotations"] == [FLAT]


def test_a_failed_search_says_so() -> None:
    error = {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}
    body = message(
        SEARCHED["content"][0], {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": error}
    )
    assert convert_answer(body, way_back(Dialect.MESSAGES, Dialect.RESPONSES))["output"][0]["type"] == "web_search_call"
    failed = response(
        {"id": "ws_1", "type": "web_search_call", "status": "failed", "action": {"type": "search", "query": "q"}}
    )
    content = convert_answer(failed, way_back(Dialect.RESPONSES, Dialect.MESSAGES))["content"]
    assert content[1]["content"]["error_code"] == "unavailable"


def test_what_the_client_cannot_know_is_left_out() -> None:
    drawn = response(
        {"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": "iVBORw0="},
        output_message("so"),
    )
    content = message_of(convert(responses_stream(drawn), Dialect.RESPONSES, Dialect.MESSAGES))["content"]
    assert content == [{"type": "text", "text": "so"}]
    kept = items_of(convert(responses_stream(drawn), Dialect.RESPONSES, Dialect.RESPONSES))
    assert kept[0]["result"] == "iVBORw0="
    ran = message(
        {"type": "code_execution_tool_result", "tool_use_id": "x", "content": {}}, {"type": "text", "text": "so"}
    )
    assert len(items_of(convert(messages_stream(ran), Dialect.MESSAGES, Dialect.RESPONSES))) == 1


@pytest.mark.parametrize("client", [Dialect.CHAT, Dialect.RESPONSES])
def test_citations_of_a_whole_answer(client: Dialect) -> None:
    cited = {"type": "web_search_result_location", "url": "https://x.example", "title": "X", "cited_text": "so"}
    body = message({"type": "text", "text": "So.", "citations": [cited]})
    answer = convert_answer(body, way_back(Dialect.MESSAGES, client))
    if client is Dialect.CHAT:
        [found] = answer["choices"][0]["message"]["annotations"]
        found = found["url_citation"]
    else:
        [found] = answer["output"][0]["content"][0]["annotations"]
    assert (found["url"], found["start_index"], found["end_index"]) == ("https://x.example", 0, 3)
