"""Streams as many makers send them, each with its own habits: what every client must get of them."""

from __future__ import annotations

import json
from itertools import product
from typing import Any, NamedTuple

import pytest
from codex_gateway.dialect.convert import Dialect, PassThrough
from codex_gateway.dialect.neutral import Usage

from tests.support.converting import convert, items_of, message_of

Json = dict[str, Any]


class Told(NamedTuple):
    """What the answer says."""

    thinking: str = ""
    text: str = ""
    calls: tuple[tuple[str, Json], ...] = ()
    usage: tuple[int, int] = (9, 4)
    """Whole input and output."""


def chunks(*deltas: Json, finish: str = "stop", usage: str = "apart", **head: Any) -> bytes:
    """Chat chunks of the deltas. `usage`: in a chunk apart, in the last, in each, or in the choice."""
    counted = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    base = {"id": "c-1", "object": "chat.completion.chunk", "created": 7, "model": "m", **head}
    out = []
    for at, delta in enumerate([*deltas, {}]):
        last = at == len(deltas)
        choice: Json = {"index": 0, "delta": delta, "finish_reason": finish if last else None}
        if last and usage == "choice":
            choice["usage"] = counted
        told = {"usage": counted} if usage == "each" or (last and usage == "last") else {}
        out.append({**base, "choices": [choice], **told})
    if usage == "apart":
        out.append({**base, "choices": [], "usage": counted})
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in out) + b"data: [DONE]\n\n"


def called(index: int | None, name: str | None, arguments: str | None, call_id: str | None = None, **more: Any) -> Json:
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function, **more}]}


LOOK = ("look", {"at": "a"})
RUN = ("run", {"cmd": "ls", "n": 1})

CHAT: dict[str, tuple[bytes, Told]] = {
    "vLLM": (
        chunks(
            {"role": "assistant", "content": ""},
            {"reasoning": "Hm", "reasoning_content": "Hm"},
            {"reasoning": " …", "reasoning_content": " …"},
            {"content": "I "},
            {"content": "look."},
            called(0, "look", "", "chatcmpl-tool-1"),
            called(0, None, '{"at": '),
            called(0, None, '"a"}'),
            called(1, "run", "", "chatcmpl-tool-2"),
            called(1, None, '{"cmd": "ls", "n": 1}'),
            finish="tool_calls",
        ),
        Told("Hm …", "I look.", (LOOK, RUN)),
    ),
    "vLLM without a reasoning parser": (
        chunks({"role": "assistant"}, {"content": "<think>\n"}, {"content": "Hm\n</thi"}, {"content": "nk>\n\nSo."}),
        Told("Hm", "So."),
    ),
    "llama.cpp": (
        chunks(
            {"role": "assistant", "content": None},
            {"content": "So"},
            {"content": "."},
            usage="apart",
            timings={"prompt_n": 9, "predicted_ms": 2.5},
            system_fingerprint="b1",
        ),
        Told("", "So."),
    ),
    "Ollama": (
        chunks(
            {"role": "assistant", "content": "", "reasoning": "Hm"},
            {"role": "assistant", "content": "So."},
            {"role": "assistant", "content": "", **called(0, "look", '{"at":"a"}', "call_1")},
            {"role": "assistant", "content": "", **called(1, "run", '{"cmd":"ls","n":1}', "call_2")},
            finish="stop",
        ),
        Told("Hm", "So.", (LOOK, RUN)),
    ),
    "DeepSeek": (
        chunks(
            {"role": "assistant", "content": None, "reasoning_content": ""},
            {"content": None, "reasoning_content": "Hm"},
            {"content": "So.", "reasoning_content": None},
            usage="last",
        ),
        Told("Hm", "So."),
    ),
    "Groq": (
        chunks({"role": "assistant", "content": ""}, {"content": "So."}, x_groq={"id": "req_1"}, usage="apart"),
        Told("", "So."),
    ),
    "OpenRouter": (
        b": OPENROUTER PROCESSING\n\n"
        + chunks(
            {"role": "assistant", "content": "", "reasoning": "Hm", "reasoning_details": [{"type": "reasoning.text"}]},
            {"role": "assistant", "content": "So."},
            provider="Somebody",
        ).replace(b"data: [DONE]", b": OPENROUTER PROCESSING\n\ndata: [DONE]"),
        Told("Hm", "So."),
    ),
    "Azure": (
        b'data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{}]}\n\n'
        + chunks(
            {"role": "assistant", "content": "", "refusal": None},
            {"content": "So."},
            obfuscation="x",
            service_tier="default",
            usage="apart",
        ),
        Told("", "So."),
    ),
    "Gemini": (
        chunks(
            {"role": "assistant", "content": "So."},
            {"role": "assistant", "tool_calls": called(0, "look", '{"at":"a"}', "")["tool_calls"]},
            {"role": "assistant", "tool_calls": called(0, "run", '{"cmd":"ls","n":1}', "")["tool_calls"]},
            usage="each",
        ),
        Told("", "So.", (LOOK, RUN)),
    ),
    "Mistral": (
        chunks(
            {"role": "assistant", "content": ""},
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]},
            {"content": [{"type": "text", "text": "So."}]},
            called(0, "look", '{"at": "a"}', "AbCd12345"),
            finish="tool_calls",
            usage="last",
        ),
        Told("Hm", "So.", (LOOK,)),
    ),
    "Kimi": (
        chunks(
            {"role": "assistant", "content": ""},
            {"reasoning_content": "Hm"},
            {"content": "So."},
            called(0, "look", "", "look:0"),
            called(0, "", '{"at":"a"}', ""),
            finish="tool_calls",
            usage="choice",
        ),
        Told("Hm", "So.", (LOOK,)),
    ),
    "GLM": (
        chunks(
            {"role": "assistant", "reasoning_content": "Hm"},
            {"role": "assistant", "content": "\n"},
            {"role": "assistant", **called(0, "look", '{"at":"a"}', "call_-1")},
            finish="tool_calls",
            usage="last",
        ),
        Told("Hm", "", (LOOK,)),
    ),
    "Qwen": (
        chunks(
            {"role": "assistant", "content": ""},
            called(0, "run", '{"cmd": ', "call_1"),
            called(0, "", '"ls", "n": 1', ""),
            called(0, "", "}", ""),
            called(0, None, None, ""),
            finish="tool_calls",
        ),
        Told("", "", (RUN,)),
    ),
    "MiniMax": (
        chunks({"role": "assistant", "content": "So"}, {"content": "."}, usage="apart").replace(
            b'data: {"id": "c-1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": []',
            b'data: {"object":"chat.completion","choices":[{"index":0,"finish_reason":"stop",'
            b'"message":{"role":"assistant","content":"So.","tool_calls":null}}]',
        ),
        Told("", "So."),
    ),
    "TGI": (
        chunks(
            {"role": "assistant", "content": "So."},
            {"tool_calls": called(0, "look", '{"at":"a"}', "0")["tool_calls"][0]},
            finish="eos_token",
        ),
        Told("", "So.", (LOOK,)),
    ),
    "Perplexity": (
        b"".join(
            b"data: %b\n\n"
            % json.dumps(
                {
                    "id": "c",
                    "choices": [
                        {
                            "index": 0,
                            "delta": {"role": "assistant", "content": new},
                            "message": {"role": "assistant", "content": whole},
                            "finish_reason": finish,
                        }
                    ],
                    "usage": {"prompt_tokens": 9, "completion_tokens": 4},
                }
            ).encode()
            for new, whole, finish in (("S", "S", None), ("o.", "So.", None), ("", "So.", "stop"))
        ),
        Told("", "So."),
    ),
}


@pytest.mark.parametrize("maker", CHAT)
def test_chat_for_a_messages_client(maker: str) -> None:
    stream, told = CHAT[maker]
    seen = convert(stream, Dialect.CHAT, Dialect.MESSAGES)
    answer = message_of(seen)
    assert "".join(block.get("thinking", "") for block in answer["content"]) == told.thinking
    assert "".join(block.get("text", "") for block in answer["content"]) == told.text
    calls = [block for block in answer["content"] if block["type"] == "tool_use"]
    assert [(block["name"], block["input"]) for block in calls] == list(told.calls)
    assert len({block["id"] for block in calls}) == len(calls)
    assert answer["stop_reason"] == ("tool_use" if told.calls else "end_turn")
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == told.usage


@pytest.mark.parametrize("maker", CHAT)
def test_chat_for_codex(maker: str) -> None:
    stream, told = CHAT[maker]
    seen = convert(stream, Dialect.CHAT, Dialect.RESPONSES)
    items = items_of(seen)
    thoughts = [part["text"] for item in items if item["type"] == "reasoning" for part in item["summary"]]
    texts = [part["text"] for item in items if item["type"] == "message" for part in item["content"]]
    calls = [(item["name"], json.loads(item["arguments"])) for item in items if item["type"] == "function_call"]
    assert ("".join(thoughts), "".join(texts), tuple(calls)) == told[:3]
    last = seen.events[-1]
    assert last["type"] == "response.completed"
    assert (last["response"]["usage"]["input_tokens"], last["response"]["usage"]["output_tokens"]) == told.usage


@pytest.mark.parametrize(("maker", "size"), list(product(CHAT, (1, 13, 100_000))))
def test_chat_passes_with_every_byte_and_its_tokens_are_known(maker: str, size: int) -> None:
    stream, told = CHAT[maker]
    passed = PassThrough(Dialect.CHAT)
    out = b"".join(event for at in range(0, len(stream), size) for event in passed.feed(stream[at : at + size]))
    assert (out + b"".join(passed.end())).removesuffix(b"data: [DONE]\n\n") == stream.removesuffix(b"data: [DONE]\n\n")
    assert passed.usage == Usage(input=told.usage[0], output=told.usage[1], service_tier=passed.usage.service_tier)
    assert passed.outcome is not None
    assert passed.outcome.error is None


def events(*told: Json, named: bool = True) -> bytes:
    head = b"event: %b\n" if named else b""
    return b"".join(
        (head % one["type"].encode() if named else b"") + b"data: " + json.dumps(one).encode() + b"\n\n" for one in told
    )


def blocks(*content: tuple[Json, list[Json]], usage: Json, stop: str = "end_turn", named: bool = True) -> bytes:
    start = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "m", **usage}
    told: list[Json] = [{"type": "message_start", "message": start}]
    for index, (block, deltas) in enumerate(content):
        told.append({"type": "content_block_start", "index": index, "content_block": block})
        told += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        told.append({"type": "content_block_stop", "index": index})
    told.append(
        {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"input_tokens": 9, "output_tokens": 4}}
    )
    return events(*told, {"type": "message_stop"}, named=named)


SO = ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "So."}])
MESSAGES: dict[str, tuple[bytes, Told]] = {
    "Anthropic with its own search": (
        blocks(
            ({"type": "thinking", "thinking": "", "signature": ""}, [{"type": "thinking_delta", "thinking": "Hm"}]),
            ({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}, []),
            ({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}, []),
            ({"type": "code_execution_tool_result", "tool_use_id": "srvtoolu_2", "content": {}}, []),
            SO,
            usage={"usage": {"input_tokens": 9, "output_tokens": 1}},
        ),
        Told("Hm", "So."),
    ),
    "DeepSeek": (
        blocks(
            ({"type": "thinking", "thinking": "", "signature": "x"}, [{"type": "thinking_delta", "thinking": "Hm"}]),
            SO,
            ({"type": "tool_use", "id": "call_00", "name": "look", "input": {"at": "a"}}, []),
            usage={},
            stop="tool_use",
        ),
        Told("Hm", "So.", (LOOK,)),
    ),
    "Kimi": (
        blocks(
            ({"type": "thinking", "thinking": ""}, [{"type": "thinking_delta", "thinking": "Hm"}]),
            ({"type": "text", "text": "So."}, []),
            (
                {"type": "tool_use", "id": "look:0", "name": "look", "input": {}},
                [{"type": "input_json_delta", "partial_json": '{"at":"a"}'}],
            ),
            usage={"usage": None},
            stop="tool_use",
            named=False,
        ),
        Told("Hm", "So.", (LOOK,)),
    ),
}


@pytest.mark.parametrize("maker", MESSAGES)
def test_messages_for_codex(maker: str) -> None:
    stream, told = MESSAGES[maker]
    seen = convert(stream, Dialect.MESSAGES, Dialect.RESPONSES)
    items = items_of(seen)
    thoughts = [part["text"] for item in items if item["type"] == "reasoning" for part in item["summary"]]
    texts = [part["text"] for item in items if item["type"] == "message" for part in item["content"]]
    calls = [(item["name"], json.loads(item["arguments"])) for item in items if item["type"] == "function_call"]
    assert ("".join(thoughts), "".join(texts), tuple(calls)) == told[:3]
    usage = seen.events[-1]["response"]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == told.usage


@pytest.mark.parametrize("maker", MESSAGES)
def test_messages_for_chat(maker: str) -> None:
    stream, told = MESSAGES[maker]
    seen = convert(stream, Dialect.MESSAGES, Dialect.CHAT)
    deltas = seen.deltas()
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == told.thinking
    assert "".join(delta.get("content") or "" for delta in deltas) == told.text
    assert seen.finish_reason() == ("tool_calls" if told.calls else "stop")


ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
PART = {"type": "output_text", "text": "So.", "annotations": []}
CALL = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"at": "a"}'}
COUNTED = {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}


def ended(*output: Json) -> Json:
    return {
        "type": "response.completed",
        "response": {"id": "r", "status": "completed", "output": list(output), "usage": COUNTED},
    }


CREATED = {"type": "response.created", "response": {"id": "r", "status": "in_progress", "output": []}}
PLACE = {"output_index": 0, "content_index": 0, "item_id": "msg_1"}
RESPONSES: dict[str, tuple[bytes, Told]] = {
    "whole items alone": (
        events(
            CREATED,
            {"type": "response.output_item.done", "output_index": 0, "item": {**ITEM, "content": [PART]}},
            {"type": "response.output_item.done", "output_index": 1, "item": CALL},
            ended(),
        ),
        Told("", "So.", (LOOK,)),
    ),
    "the last event alone": (
        events(CREATED, ended({**ITEM, "content": [PART]}, CALL)),
        Told("", "So.", (LOOK,)),
    ),
    "reasoning text without an item before": (
        events(
            CREATED,
            {"type": "response.reasoning_text.delta", "output_index": 0, "content_index": 0, "delta": "Hm"},
            {
                "type": "response.output_item.done",
                "output_index": 0,
                "item": {"id": "rs_1", "type": "reasoning", "summary": [], "content": [{"text": "Hm"}]},
            },
            {"type": "response.output_text.delta", **PLACE, "output_index": 1, "delta": "So."},
            ended(),
            named=False,
        ),
        Told("Hm", "So."),
    ),
    "other ids in the last event": (
        events(
            CREATED,
            {"type": "response.output_item.added", "output_index": 0, "item": {**ITEM, "content": []}},
            {"type": "response.output_text.delta", **PLACE, "delta": "So"},
            {"type": "response.output_text.delta", **PLACE, "delta": "."},
            {"type": "response.output_text.done", **PLACE, "text": "So."},
            {"type": "response.output_item.done", "output_index": 0, "item": {**ITEM, "content": [PART]}},
            ended({**ITEM, "id": "msg_other", "content": [PART]}),
        ),
        Told("", "So."),
    ),
}


@pytest.mark.parametrize("maker", RESPONSES)
def test_responses_for_a_messages_client(maker: str) -> None:
    stream, told = RESPONSES[maker]
    answer = message_of(convert(stream, Dialect.RESPONSES, Dialect.MESSAGES))
    assert "".join(block.get("thinking", "") for block in answer["content"]) == told.thinking
    assert "".join(block.get("text", "") for block in answer["content"]) == told.text
    assert [(one["name"], one["input"]) for one in answer["content"] if one["type"] == "tool_use"] == list(told.calls)
    assert answer["stop_reason"] == ("tool_use" if told.calls else "end_turn")
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == told.usage
