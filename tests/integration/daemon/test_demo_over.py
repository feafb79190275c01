"""The demo is over: a child that was started for the demo model is replaced, for that model is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from codex_control.v1 import outcome_pb2

from tests.faults.watching import is_running
from tests.support.codex_home import CodexHome
from tests.support.model_script import Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor, supervisor_of


def settings(real_codex: Path, *, demo: bool) -> dict[str, Any]:
    # A turn that no model answers is to fail the test, not to wait.
    return {"codex": {"binary": str(real_codex), "demo_model": demo}, "turns": {"timeout": 20}}


@pytest.fixture
async def supervisor(
    codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path
) -> AsyncIterator[RunningSupervisor]:
    async with supervisor_of(codex_home, short_runtime_dir, settings(real_codex, demo=True)) as made:
        yield made


async def test_the_next_ask_gets_the_real_model(
    supervisor: RunningSupervisor, stub_model: StubModel, real_codex: Path
) -> None:
    assert "demo model" in (await supervisor.client.ask("hello")).answer
    demo_child = (await supervisor.client.instance()).child.pid

    # As long as the demo lasts, its child is taken over.
    await supervisor.restart()
    assert (await supervisor.client.instance()).child.pid == demo_child

    supervisor.configure(settings(real_codex, demo=False))
    await supervisor.restart()
    assert not is_running(demo_child)
    stub_model.script(Text("from the real one"))
    turn = await supervisor.client.ask("hello again")
    assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "from the real one"), turn.error
    real_child = (await supervisor.client.instance()).child.pid

    # Nor is one for the real model taken over where the demo begins.
    supervisor.configure(settings(real_codex, demo=True))
    await supervisor.restart()
    assert not is_running(real_child)
    assert "demo model" in (await supervisor.client.ask("hello")).answer


async def test_a_turn_under_way_goes_on_with_the_real_model(
    supervisor: RunningSupervisor, stub_model: StubModel, real_codex: Path
) -> None:
    asking = supervisor.client.turns.Ask(request := supervisor.client.request("demo: slow"))
    async for answer in asking:
        if answer.event.HasField("text"):
            break
    demo_child = (await supervisor.client.instance()).child.pid

    supervisor.configure(settings(real_codex, demo=False))
    stub_model.script(Text("from the real one"))
    await supervisor.restart()
    assert not is_running(demo_child)
    # The same ask: the turn that it is about goes on.
    events = [answer.event async for answer in supervisor.client.turns.Ask(request)]
    turn = events[-1].ended.turn
    assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "from the real one"), turn.error
    (report,) = (event.recovery for event in events if event.HasField("recovery"))
    assert "another model" in report.what_happened
