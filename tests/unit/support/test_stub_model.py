"""The stub model server as a client sees it: every step of a script, and its control endpoint."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.codex_home import REPOSITORY
from tests.support.model_script import (
    Bulk,
    Call,
    Command,
    Cut,
    Delay,
    EndText,
    Fail,
    Incomplete,
    Open,
    Patch,
    Plan,
    Question,
    Raw,
    Reasoning,
    Stall,
    Status,
    Text,
    Usage,
    context_window_full,
    usage_limit,
)
from tests.support.stub_model import MAX_RECORDED_REQUESTS, RemoteStub, StubModel
from tests.support.waiting import wait_for

ALL_TOOLS = ("exec_command", "apply_patch", "update_plan", "request_user_input")


def body(text: str, *outputs: str, tools: tuple[str, ...] = ALL_TOOLS) -> bytes:
    said: list[dict[str, Any]] = [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "be good"}]},
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "<environment_context>\n<cwd>/x</cwd>"}],
        },
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]},
    ]
    said += [{"type": "function_call_output", "call_id": "c", "output": output} for output in outputs]
    offered = [{"type": "function", "name": name} for name in tools]
    return json.dumps({"model": "stub-model", "stream": True, "input": said, "tools": offered}).encode()


@pytest.fixture
async def http(stub_model: StubModel) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{stub_model.port}") as session:
        yield session


async def ask(http: aiohttp.ClientSession, text: str, *outputs: str) -> list[dict[str, Any]]:
    """The events of one answer."""
    async with http.post("/v1/responses", data=body(text, *outputs)) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        return events(await response.text())


def events(stream: str) -> list[dict[str, Any]]:
    return [json.loads(event.partition("data: ")[2]) for event in stream.split("\n\n") if event]


def said(answer: list[dict[str, Any]]) -> list[str]:
    return [event["delta"] for event in answer if event["type"] == "response.output_text.delta"]


def done(answer: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["item"] for event in answer if event["type"] == "response.output_item.done"]


async def test_echo(http: aiohttp.ClientSession, stub_model: StubModel) -> None:
    answer = await ask(http, "hello there")
    assert said(answer) == ["stub: ", "hello ", "there"]
    assert answer[0]["response"]["id"] == "resp_1"
    assert answer[-1]["type"] == "response.completed"
    assert stub_model.requests[0].finished
    assert stub_model.requests[0].user_texts == ("hello there",)
    assert stub_model.requests[0].input[0]["role"] == "developer"


async def test_ids_repeat(http: aiohttp.ClientSession) -> None:
    first = await ask(http, "hello")
    async with StubModel() as other, aiohttp.ClientSession(f"http://127.0.0.1:{other.port}") as session:
        assert await ask(session, "hello") == first


async def test_items(http: aiohttp.ClientSession, stub_model: StubModel) -> None:
    stub_model.script(
        Reasoning(("one two", "three")),
        Text("first"),
        EndText("commentary"),
        Text("second", deltas=99),
        Command("ls", {"login": False}),
        Patch("*** Begin Patch\n*** End Patch"),
        Plan((("a", "pending"),)),
        Question("Really?"),
        Call("close", {"target": "x"}, namespace="agents"),
        Usage(10, 5, 3, 1),
    )
    answer = await ask(http, "all")
    items = done(answer)
    assert [item["type"] for item in items] == [
        "reasoning",
        "message",
        "message",
        "function_call",
        "custom_tool_call",
        "function_call",
        "function_call",
        "function_call",
    ]
    assert [part["text"] for part in items[0]["summary"]] == ["one two", "three"]
    assert (items[1]["phase"], items[1]["content"][0]["text"]) == ("commentary", "first")
    assert items[2]["content"][0]["text"] == "second"
    assert json.loads(items[3]["arguments"]) == {"cmd": "ls", "login": False}
    assert items[7]["namespace"] == "agents"
    assert len({item["id"] for item in items}) == len(items)
    usage = answer[-1]["response"]["usage"]
    assert usage["total_tokens"] == 13
    assert usage["input_tokens_details"] == {"cached_tokens": 5}


async def test_matching(http: aiohttp.ClientSession, stub_model: StubModel) -> None:
    stub_model.script(Text("continued"), when="^a", continues=True, times=None)
    stub_model.script(Text("A"), when="^a", times=2)
    stub_model.script(Text("next"))
    answers = [await ask(http, *words) for words in (("a",), ("b",), ("a", "out"), ("a",), ("a",), ("a", "out"))]
    assert ["".join(said(answer)) for answer in answers] == ["A", "next", "continued", "A", "stub: a", "continued"]
    assert [request.tool_outputs for request in stub_model.requests][2] == ("out",)


async def test_gate(http: aiohttp.ClientSession, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("before"), gate, Text("after"))
    async with http.post("/v1/responses", data=body("x")) as response:
        await gate.reached()
        before = await response.content.readuntil(b'"re"}\n\n')
        assert said(events(before.decode())) == ["be", "fo", "re"]
        assert not stub_model.requests[0].finished
        gate.release()
        after = await response.text()
    assert "".join(said(events(after))) == "after"
    await wait_for(lambda: stub_model.requests[0].finished, what="the answer's end")


async def test_gate_that_nobody_reaches(stub_model: StubModel) -> None:
    with pytest.raises(AssertionError, match="gate1 not reached"):
        await stub_model.gate().reached(0.01)


@pytest.mark.parametrize(
    ("status", "retry_after"), [(400, None), (401, None), (403, None), (429, None), (429, 2), (500, None), (503, 0.5)]
)
async def test_status(
    http: aiohttp.ClientSession, stub_model: StubModel, status: int, retry_after: float | None
) -> None:
    stub_model.script(Status(status, "some_code", retry_after_s=retry_after))
    async with http.post("/v1/responses", data=body("x")) as response:
        assert response.status == status
        assert response.headers.get("Retry-After") == (f"{retry_after:g}" if retry_after else None)
        assert (await response.json())["error"]["code"] == "some_code"


async def test_usage_limit(http: aiohttp.ClientSession, stub_model: StubModel) -> None:
    stub_model.script(usage_limit(60))
    async with http.post("/v1/responses", data=body("x")) as response:
        assert response.status == 429
        error = (await response.json())["error"]
        assert (error["type"], error["resets_in_seconds"]) == ("usage_limit_reached", 60)


async def test_endings(http: aiohttp.ClientSession, stub_model: StubModel) -> None:
    stub_model.script(Text("a"), context_window_full())
    stub_model.script(Fail("server_is_overloaded"))
    stub_model.script(Text("cut"), Incomplete("content_filter"))
    stub_model.script(Raw("data: {not json\n\n"), Delay(0))
    first, second, third = [await ask(http, "x") for _ in range(3)]
    assert first[-1]["response"]["error"]["code"] == "context_length_exceeded"
    assert second[-1]["response"]["error"]["code"] == "server_is_overloaded"
    assert third[-1]["response"]["incomplete_details"] == {"reason": "content_filter"}
    async with http.post("/v1/responses", data=body("x")) as response:
        assert b"data: {not json\n\n" in await response.read()


@pytest.mark.parametrize("reset", [False, True])
async def test_cut_before_headers(http: aiohttp.ClientSession, stub_model: StubModel, reset: bool) -> None:
    stub_model.script(Cut(reset))
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask(http, "x")


@pytest.mark.parametrize("reset", [False, True])
async def test_cut_after_headers(http: aiohttp.ClientSession, stub_model: StubModel, reset: bool) -> None:
    stub_model.script(Open(), Cut(reset))
    async with http.post("/v1/responses", data=body("x")) as response:
        with pytest.raises(aiohttp.ClientError):
            await response.read()


@pytest.mark.parametrize("steps", [(Stall(),), (Open(), Stall()), (Text("part"), Stall())])
async def test_stall(http: aiohttp.ClientSession, stub_model: StubModel, steps: tuple[Any, ...]) -> None:
    stub_model.script(*steps)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(http, "x"), 0.1)
    await wait_for(lambda: stub_model.requests[0].abandoned, what="the stub to see the client leave")


async def test_stops_in_a_stall() -> None:
    async with StubModel() as stub:
        stub.script(Open(), Stall())
        session = aiohttp.ClientSession(f"http://127.0.0.1:{stub.port}")
        response = await session.post("/v1/responses", data=body("x"))
    assert response.status == 200
    response.close()
    await session.close()


async def test_refuse(http: aiohttp.ClientSession, stub_model: StubModel) -> None:
    await stub_model.refuse()
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(http, "x")
    await stub_model.listen()
    assert await ask(http, "x")


async def test_bulk(http: aiohttp.ClientSession, stub_model: StubModel) -> None:
    stub_model.script(Bulk(5_000_000, 1))
    assert [len(delta) for delta in said(await ask(http, "x"))] == [5_000_000]
    stub_model.script(Bulk(20_003, 20_000))
    deltas = said(await ask(http, "x"))
    assert (len(deltas), sum(map(len, deltas))) == (20_000, 20_003)


async def test_upgrade_is_refused(http: aiohttp.ClientSession, stub_model: StubModel) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError, match="426"):
        await http.ws_connect("/v1/responses")
    assert stub_model.upgrade_requests == 1


async def test_record_is_bounded(http: aiohttp.ClientSession, stub_model: StubModel) -> None:
    for number in range(MAX_RECORDED_REQUESTS + 2):
        await ask(http, str(number))
    assert len(stub_model.requests) == MAX_RECORDED_REQUESTS
    assert stub_model.received == MAX_RECORDED_REQUESTS + 2
    assert (await stub_model.wait_for_requests(2)).last_user_text == str(MAX_RECORDED_REQUESTS + 1)
    with pytest.raises(AssertionError, match="of 999 requests"):
        await stub_model.wait_for_requests(999, 0.01)


async def test_in_another_process() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.stub_model", "--port", "0"),
        cwd=REPOSITORY,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    port = int(await asyncio.wait_for(process.stdout.readline(), 20))
    stub = RemoteStub(port)
    await stub.script(Text("a"), stub.gate("g"), Text("b"), when="^hello$")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http, asyncio.TaskGroup() as group:
        asking = group.create_task(ask(http, "hello"))
        await stub.wait_for_gate("g")
        (request,) = await stub.requests()
        assert (request["last_user_text"], request["finished"]) == ("hello", False)
        assert request["body"]["model"] == "stub-model"
        await stub.release("g")
    assert said(asking.result()) == ["a", "b"]
    await stub.reset()
    assert await stub.requests() == []
    # It ends with its parent's pipe.
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 10) == 0
