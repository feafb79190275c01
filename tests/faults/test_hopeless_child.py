"""A child that cannot live: restarts end, waiting turns get their outcome, and the user reads what to do."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import grpc
import pytest
from codex_control.v1 import instances_pb2, outcome_pb2

from tests.faults.conftest import Supervise
from tests.faults.watching import asking
from tests.support.fake_codex.knobs import Knobs
from tests.support.fake_codex.place import FakeCodex
from tests.support.supervisor import RunningSupervisor, ref
from tests.support.waiting import wait_for

LAST_WORDS = "error: unknown field `modle` in config.toml"
AT_ONCE = {"restart_burst": 3, "restart_refill": 3600, "backoff_initial": 0}


async def refused(supervisor: RunningSupervisor) -> str:
    """Ask in vain; return the sentence."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await supervisor.client.ask("one more")
    assert raised.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    return raised.value.details() or ""


async def test_a_child_that_exits_at_once_for_ever(with_fake: Supervise, fake_codex: FakeCodex) -> None:
    fake_codex.turn_knobs(Knobs(exit_code=1, stderr=LAST_WORDS))
    async with (
        with_fake({"instances": AT_ONCE}) as supervisor,
        asking(supervisor, "first") as first,
        asking(supervisor, "second") as second,
    ):
        for turn in (await first.turn(), await second.turn()):
            assert turn.outcome == outcome_pb2.OUTCOME_FAILED
            assert turn.cause == outcome_pb2.CAUSE_CHILD_DIED
            assert LAST_WORDS in turn.error
        instance = await supervisor.client.instance()
        assert instance.state == instances_pb2.INSTANCE_STATE_FAILED
        assert LAST_WORDS in instance.stderr_tail
        assert fake_codex.starts == 1 + 3, "the first start and the budget"
        sentence = await refused(supervisor)
        assert LAST_WORDS in sentence
        assert "codexctl restart" in sentence
        assert fake_codex.starts == 4, "a refused ask starts nothing"


async def test_a_failed_instance_cools_down_and_is_tried_once(with_fake: Supervise, fake_codex: FakeCodex) -> None:
    fake_codex.turn_knobs(Knobs(exit_code=1, stderr=LAST_WORDS, starts=tuple(range(1, 6))))
    async with with_fake({"instances": {**AT_ONCE, "cool_down": 0.5}}) as supervisor:
        assert (await supervisor.client.ask("in vain")).outcome == outcome_pb2.OUTCOME_FAILED
        assert fake_codex.starts == 4
        # The fifth start is the try after the first cool-down, and fails at once for all its budget; the sixth works.
        await supervisor.client.wait_for_state(instances_pb2.INSTANCE_STATE_READY)
        assert fake_codex.starts == 6
        assert (await supervisor.client.ask("now")).outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_a_person_may_try_again_at_once(with_fake: Supervise, fake_codex: FakeCodex) -> None:
    fake_codex.turn_knobs(Knobs(exit_code=1, stderr=LAST_WORDS))
    async with with_fake({"instances": AT_ONCE}) as supervisor:
        with pytest.raises(grpc.aio.AioRpcError, match="unknown field"):
            await supervisor.client.instances.Start(
                instances_pb2.StartRequest(instance=ref("main"), cwd=supervisor.client.cwd)
            )
        fake_codex.turn_knobs(Knobs())
        await supervisor.client.instances.Restart(instances_pb2.RestartRequest(instance=ref("main")))
        assert (await supervisor.client.ask("mended")).outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_a_child_that_dies_one_second_after_it_is_ready_for_ever(
    with_fake: Supervise, fake_codex: FakeCodex
) -> None:
    fake_codex.turn_knobs(Knobs(die_after_ready_s=1.0))
    limits = {"restart_burst": 2, "restart_refill": 3600, "backoff_initial": 0}
    async with with_fake({"instances": limits}) as supervisor:
        assert (await supervisor.client.ask("quick enough")).outcome == outcome_pb2.OUTCOME_COMPLETED
        await supervisor.client.wait_for_state(instances_pb2.INSTANCE_STATE_FAILED)
        instance = await supervisor.client.instance()
        assert instance.restarts == 2
        assert fake_codex.starts == 3
        assert "SIGKILL" in instance.detail
        assert "SIGKILL" in await refused(supervisor)


async def test_turns_that_wait_while_it_crashes_all_get_an_outcome(with_fake: Supervise, fake_codex: FakeCodex) -> None:
    fake_codex.turn_knobs(Knobs(die_after_ready_s=0, answer="never"))
    async with with_fake({"instances": AT_ONCE}) as supervisor:
        turns = await asyncio.gather(*(supervisor.client.ask(f"number {number}") for number in range(5)))
        assert {turn.outcome for turn in turns} <= {outcome_pb2.OUTCOME_FAILED, outcome_pb2.OUTCOME_INTERRUPTED}
        assert {turn.cause for turn in turns} == {outcome_pb2.CAUSE_CHILD_DIED}


async def test_starts_that_come_to_nothing_leave_no_records(with_fake: Supervise, fake_codex: FakeCodex) -> None:
    async with with_fake({"instances": {**AT_ONCE, "cool_down": 0}}) as supervisor:
        await supervisor.client.ask("works")
        await supervisor.client.instances.Stop(instances_pb2.StopRequest(instance=ref("main")), timeout=20)
        fake_codex.binary.chmod(0o600)
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError, match="cannot be run"):
                await supervisor.client.instances.Start(instances_pb2.StartRequest(instance=ref("main")), timeout=20)

        def records() -> int:
            with closing(sqlite3.connect(supervisor.state_dir / "supervisor.db")) as db:
                return int(db.execute("SELECT count(*) FROM children").fetchone()[0])

        await wait_for(lambda: records() == 0, 5, "the records to be gone")
        fake_codex.binary.chmod(0o700)
