"""What the demo model says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from codex_supervisor.demo.answers import COMMAND, QUOTED_CHARACTERS, SLOW_LINES, demo_answer
from codex_supervisor.demo.responses import ModelRequest, ResponseStream


def user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def output(text: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": "c", "output": text}


def answer(*items: dict[str, Any], tools: tuple[str, ...] = ("exec_command", "update_plan")) -> list[dict[str, Any]]:
    """The events that the demo model sends for a conversation."""
    offered = [{"type": "function", "name": name} for name in tools]
    request = ModelRequest.from_json(json.dumps({"model": "m", "input": items, "tools": offered}).encode())
    sent = b"".join(data for _, data in demo_answer(request, ResponseStream("r")))
    return [json.loads(event.partition(b"data: ")[2]) for event in sent.split(b"\n\n") if event]


def said(events: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


def calls(events: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    return [(item["name"], json.loads(item["arguments"])) for item in done if item["type"] == "function_call"]


@pytest.mark.parametrize(
    "items",
    [
        [],
        [user("hello")],
        [user("Demo: Slow, please")],
        [user("demo: command")],
        [user("demo: command"), output("Hello")],
        [user("demo: plan")],
        [user("demo: plan"), *[output("Plan updated")] * 4],
    ],
)
def test_every_answer_is_honest_and_complete(items: list[dict[str, Any]]) -> None:
    events = answer(*items)
    assert "demo model" in said(events)
    assert "no AI" in said(events)
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["usage"]["output_tokens"] > 0


def test_repeats_a_bit_of_what_was_asked() -> None:
    text = said(answer(user("first"), user("x" * 5000)))
    assert f"“{'x' * QUOTED_CHARACTERS}…”" in text
    assert "x" * (QUOTED_CHARACTERS + 1) not in text
    assert "once in this thread, beginning with “first”" in text


def test_slow_pauses() -> None:
    request = ModelRequest.from_json(json.dumps({"input": [user("demo: slow")]}).encode())
    pauses = [pause for pause, _ in demo_answer(request, ResponseStream("r")) if pause]
    assert len(pauses) == SLOW_LINES
    assert 20 < sum(pauses) < 60


def test_runs_the_command_once() -> None:
    assert calls(answer(user("demo: command"))) == [("exec_command", {"cmd": COMMAND})]
    after = answer(user("demo: command"), output("Hello"))
    assert calls(after) == []
    assert "Hello" in said(after)


def test_plan_goes_on_to_its_end() -> None:
    for done in range(4):
        ((name, arguments),) = calls(answer(user("demo: plan"), *[output("Plan updated")] * done))
        assert name == "update_plan"
        assert [step["status"] for step in arguments["plan"]].count("completed") == done
    assert calls(answer(user("demo: plan"), *[output("Plan updated")] * 4)) == []


@pytest.mark.parametrize("wish", ["demo: command", "demo: plan"])
def test_says_so_where_codex_offers_no_tool(wish: str) -> None:
    events = answer(user(wish), tools=())
    assert calls(events) == []
    assert "offers me no" in said(events)


def test_how_to_log_in_names_a_codex_that_is_not_on_path() -> None:
    request = ModelRequest.from_json(json.dumps({"model": "m", "input": [user("hello")]}).encode())
    sent = b"".join(data for _, data in demo_answer(request, ResponseStream("r"), "/venv/bin/codex")).decode()
    assert "`/venv/bin/codex login`" in sent
    assert "{codex}" not in sent
