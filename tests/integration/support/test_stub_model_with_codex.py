"""The stub model against the real Codex: what a script says is what Codex does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from tests.support.codex_home import CodexHome
from tests.support.model_script import Command, Patch, Plan, Reasoning, Text, Usage
from tests.support.stub_model import StubModel


async def exec_codex(binary: Path, home: CodexHome, prompt: str) -> list[dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        *(binary, "exec", "--json", "--skip-git-repo-check", "--sandbox", "danger-full-access", "-C", home.workspace),
        prompt,
        env=home.environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, (out, errors)
    return [msgspec.json.decode(line) for line in out.splitlines()]


async def test_codex_echo(real_codex: Path, codex_home: CodexHome, stub_model: StubModel) -> None:
    events = await exec_codex(real_codex, codex_home, "hello there")
    messages = [event["item"]["text"] for event in events if event["type"] == "item.completed"]
    assert messages == ["stub: hello there"]
    assert stub_model.requests[0].finished


async def test_codex_tools(real_codex: Path, codex_home: CodexHome, stub_model: StubModel) -> None:
    patch = "*** Begin Patch\n*** Add File: made.txt\n+by a patch\n*** End Patch"
    gate = stub_model.gate()
    stub_model.script(Reasoning(("**Thinking** about it",)), Text("first"), Command("echo from the shell"))
    stub_model.script(Plan((("look", "completed"), ("leap", "in_progress"))))
    stub_model.script(Patch(patch))
    stub_model.script(Text("all "), gate, Text("done"), Usage(100, 40, 20, 5))

    async with asyncio.TaskGroup() as group:
        asking = group.create_task(exec_codex(real_codex, codex_home, "do it all"))
        await gate.reached()
        assert not asking.done()
        gate.release()
    events = asking.result()

    completed = [event["item"] for event in events if event["type"] == "item.completed"]
    assert [item["type"] for item in completed] == [
        "reasoning",
        "agent_message",
        "command_execution",
        "file_change",
        "agent_message",
        "todo_list",
    ]
    assert completed[2]["aggregated_output"] == "from the shell\n"
    assert completed[4]["text"] == "all done"
    assert (codex_home.workspace / "made.txt").read_text() == "by a patch\n"
    assert [len(request.tool_outputs) for request in stub_model.requests] == [0, 1, 2, 3]
    assert "from the shell" in stub_model.requests[1].tool_outputs[0]
    assert {request.last_user_text for request in stub_model.requests} == {"do it all"}
    assert events[-1]["usage"]["cached_input_tokens"] == 40
