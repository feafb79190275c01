"""The model provider is down, silent or refuses: a typed outcome within its limit, and a word on what to do."""

from __future__ import annotations

import time

import pytest
from codex_control.v1 import outcome_pb2
from google.protobuf.duration_pb2 import Duration

from tests.faults.conftest import Supervise
from tests.faults.watching import asking
from tests.support.codex_home import CodexHome
from tests.support.model_script import (
    Cut,
    Open,
    Stall,
    Status,
    Step,
    Text,
    context_window_full,
    usage_limit,
)
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor

# Codex tries for some 25 s by itself; here it may try once more.
FEW_RETRIES = "request_max_retries = 1\nstream_max_retries = 1"


@pytest.fixture
def impatient(codex_home: CodexHome, stub_model: StubModel) -> None:
    """Codex gives a failing provider up soon."""
    codex_home.configure(stub_model.base_url, provider=FEW_RETRIES)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("step", "cause", "way_out"),
    [
        pytest.param(Status(401), outcome_pb2.CAUSE_AUTH, "codex login", id="401"),
        pytest.param(Status(403), outcome_pb2.CAUSE_AUTH, "codex login", id="403"),
        pytest.param(Status(429), outcome_pb2.CAUSE_QUOTA, "wait a moment", id="429"),
        pytest.param(usage_limit(), outcome_pb2.CAUSE_QUOTA, "limit", id="usage limit"),
        pytest.param(Status(500), outcome_pb2.CAUSE_PROVIDER, "again", id="500"),
        pytest.param(Status(503), outcome_pb2.CAUSE_PROVIDER, "again", id="503"),
        pytest.param(Cut(), outcome_pb2.CAUSE_PROVIDER, "", id="cut before the headers"),
        pytest.param(context_window_full(), outcome_pb2.CAUSE_CONTEXT_WINDOW, "new instance", id="context window"),
    ],
)
async def test_a_provider_that_refuses(
    supervisor: RunningSupervisor, stub_model: StubModel, step: Step, cause: outcome_pb2.Cause, way_out: str
) -> None:
    stub_model.script(step, times=None, when="^in vain$")
    began = time.monotonic()
    turn = await supervisor.client.ask("in vain")
    assert (turn.outcome, turn.cause) == (outcome_pb2.OUTCOME_FAILED, cause), turn.error
    assert way_out in turn.error
    assert time.monotonic() - began < 15
    assert (await supervisor.client.ask("with a better one")).outcome == outcome_pb2.OUTCOME_COMPLETED


@pytest.mark.parametrize("steps", [(Stall(),), (Open(), Stall()), (Text("a beginning "), Stall())], ids=repr)
async def test_a_provider_that_falls_silent_meets_the_time_limit(
    supervisor: RunningSupervisor, stub_model: StubModel, steps: tuple[Step, ...]
) -> None:
    stub_model.script(*steps, when="^in vain$")
    began = time.monotonic()
    turn = await supervisor.client.ask("in vain", timeout=Duration(seconds=1))
    assert (turn.outcome, turn.cause) == (outcome_pb2.OUTCOME_FAILED, outcome_pb2.CAUSE_TIMED_OUT)
    assert "--timeout" in turn.error
    assert 0.9 < time.monotonic() - began < 10
    assert (await supervisor.client.ask("with a better one")).outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_a_provider_that_is_down_is_tried_until_the_time_limit(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    await supervisor.client.ask("while it was up")
    await stub_model.refuse()
    async with asking(supervisor, "in vain", timeout=Duration(seconds=4)) as asked:
        await asked.reached("retry")
        turn = await asked.turn()
    await stub_model.listen()
    assert (turn.outcome, turn.cause) == (outcome_pb2.OUTCOME_FAILED, outcome_pb2.CAUSE_TIMED_OUT)
    assert (await supervisor.client.ask("up again")).outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_retries_are_shown_and_are_no_stall(
    with_codex: Supervise, codex_home: CodexHome, stub_model: StubModel
) -> None:
    # Codex waits 0.2, 0.4, 0.8, 1.6 and 3.2 s: longer than `stall_after` altogether, never at once.
    codex_home.configure(stub_model.base_url, provider="request_max_retries = 0\nstream_max_retries = 5")
    stub_model.script(Status(500), times=None)
    async with (
        with_codex({"turns": {"stall_after": 5, "on_stall": "interrupt"}}) as supervisor,
        asking(supervisor, "in vain") as asked,
    ):
        turn = await asked.turn()
        assert (turn.outcome, turn.cause) == (outcome_pb2.OUTCOME_FAILED, outcome_pb2.CAUSE_PROVIDER)
        retries = [event.retry.count for event in asked.events if event.HasField("retry")]
        assert retries == list(range(1, len(retries) + 1))
        assert len(retries) >= 3


async def test_a_provider_that_comes_back_in_time_costs_nothing(
    supervisor: RunningSupervisor, codex_home: CodexHome, stub_model: StubModel
) -> None:
    codex_home.configure(stub_model.base_url, provider="request_max_retries = 0")
    stub_model.script(Status(503), times=2)
    async with asking(supervisor, "patience") as asked:
        turn = await asked.turn()
    assert "retry" in asked.kinds()
    assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "stub: patience")


async def test_an_answer_cut_in_the_middle_is_said_once(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    stub_model.script(Text("a beginning "), Cut())
    stub_model.script(Text("the whole answer"))
    async with asking(supervisor, "a question") as asked:
        turn = await asked.turn()
    assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "the whole answer")
    void = [item_id for event in asked.events for item_id in event.retry.superseded_item_ids]
    assert void == [next(event.text.item_id for event in asked.events if event.HasField("text"))]
