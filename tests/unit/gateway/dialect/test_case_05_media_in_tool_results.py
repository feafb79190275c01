"""Case 5: images and files, in tool results above all. Base64 never becomes text."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from codex_control.errors import BadInput

from tests.support.sdk_params import chat_body, messages_body, responses_body, to_chat, to_messages, to_responses

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
PDF = {
    "type": "document",
    "title": "a.pdf",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
}
USER = {"role": "user", "content": "look"}


def with_results(*contents: Any) -> dict[str, Any]:
    uses = [{"type": "tool_use", "id": f"t{n}", "name": "f", "input": {}} for n in range(len(contents))]
    results = [{"type": "tool_result", "tool_use_id": f"t{n}", "content": c} for n, c in enumerate(contents)]
    return messages_body(USER, {"role": "assistant", "content": uses}, {"role": "user", "content": results})


def test_chat_gets_text_and_one_user_message_after_all_outputs() -> None:
    body = to_chat(with_results([{"type": "text", "text": "shot"}, IMAGE], "plain", [IMAGE]))
    rest = body["messages"][2:]
    assert [m["role"] for m in rest] == ["tool", "tool", "tool", "user"]
    assert all(PIXEL not in m["content"] for m in rest[:3])
    images = [part["image_url"]["url"] for part in rest[3]["content"] if part["type"] == "image_url"]
    assert images == [f"data:image/png;base64,{PIXEL}"] * 2


def test_responses_gets_text_and_image_in_the_output() -> None:
    body = to_responses(with_results([{"type": "text", "text": "shot"}, IMAGE]))
    assert body["input"][2]["output"] == [
        {"type": "input_text", "text": "shot"},
        {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PIXEL}"},
    ]


def test_messages_gets_an_image_block() -> None:
    body = to_messages(
        responses_body(
            {"role": "user", "content": "look"},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            {
                "type": "function_call_output",
                "call_id": "a",
                "output": [{"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"}],
            },
        )
    )
    assert body["messages"][2]["content"][0]["content"] == [IMAGE]


def test_images_by_address_stay_addresses() -> None:
    url = "https://example.org/a.png"
    chat = chat_body({"role": "user", "content": [{"type": "image_url", "image_url": {"url": url, "detail": "low"}}]})
    assert to_messages(chat)["messages"][0]["content"] == [{"type": "image", "source": {"type": "url", "url": url}}]
    assert to_responses(chat)["input"][0]["content"] == [{"type": "input_image", "detail": "low", "image_url": url}]


def test_a_pdf_goes_into_every_dialect() -> None:
    body = messages_body({"role": "user", "content": [PDF, {"type": "text", "text": "sum up"}]})
    data = "data:application/pdf;base64,JVBERg=="
    chat = to_chat(body)
    assert chat["messages"][0]["content"][0] == {"type": "file", "file": {"filename": "a.pdf", "file_data": data}}
    part = to_responses(body)["input"][0]["content"][0]
    assert part == {"type": "input_file", "filename": "a.pdf", "file_data": data}
    back = chat_body({"role": "user", "content": chat["messages"][0]["content"]})
    assert to_messages(back)["messages"][0]["content"][0] == PDF


def test_a_pdf_in_a_tool_result_follows_as_a_user_message() -> None:
    messages = to_chat(with_results([PDF]))["messages"]
    assert messages[3]["content"][1]["type"] == "file"


def test_a_pdf_by_address() -> None:
    pdf = {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}}
    body = messages_body({"role": "user", "content": [pdf]})
    assert to_responses(body)["input"][0]["content"] == [
        {"type": "input_file", "file_url": "https://example.org/a.pdf"}
    ]
    assert "https://example.org/a.pdf" in to_chat(body)["messages"][0]["content"]


def test_a_text_document_is_text_everywhere() -> None:
    text = {
        "type": "document",
        "title": "n.txt",
        "source": {"type": "text", "media_type": "text/plain", "data": "words"},
    }
    body = messages_body({"role": "user", "content": [text]})
    assert to_chat(body)["messages"][0]["content"] == "n.txt\n\nwords"
    data = "data:text/plain;base64," + b64encode(b"words").decode()
    chat = chat_body({"role": "user", "content": [{"type": "file", "file": {"filename": "n.txt", "file_data": data}}]})
    assert to_messages(chat)["messages"][0]["content"] == [text]


def test_what_only_another_endpoint_holds_is_a_clear_mistake() -> None:
    body = chat_body({"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]})
    with pytest.raises(BadInput, match="file-1 is named by an id"):
        to_messages(body)
    audio = chat_body(
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}]}
    )
    with pytest.raises(BadInput, match="audio"):
        to_responses(audio)
