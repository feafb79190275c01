"""The wall clock jumps by a day, forwards and back: time limits, back-off and order know nothing of it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from codex_control.v1 import instances_pb2, outcome_pb2, turns_pb2
from google.protobuf.duration_pb2 import Duration

from tests.faults.conftest import Supervise
from tests.faults.watching import asking, child_pid
from tests.support.codex_home import CodexHome
from tests.support.fake_codex.knobs import Knobs
from tests.support.fake_codex.place import FakeCodex
from tests.support.model_script import Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import ref

DAY_S = 86_400

# The supervisor takes the time from its Clock alone (the linter sees to it), so a jump of that is a jump of the time.
_PROGRAM = """
import sys, time
from pathlib import Path
from codex_control.paths import Paths
from codex_control.service.clock import SystemClock
from codex_supervisor.daemon import serve
offset = Path(sys.argv[1])
SystemClock.wall_ns = lambda self: time.time_ns() + int(offset.read_text()) * 1_000_000_000
sys.exit(serve(Paths.from_environment()))
"""


class WallClock:
    """What the supervisor's wall clock is off by."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump(0)
        self.program = (sys.executable, "-c", _PROGRAM, str(file))

    def jump(self, seconds: int) -> None:
        """Be off by this from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        new.rename(self._file)


@pytest.fixture
def wall_clock(codex_home: CodexHome) -> WallClock:
    """The wall clock of supervisors that run `wall_clock.program`."""
    return WallClock(codex_home.root / "clock")


@pytest.mark.parametrize("days", [1, -1])
async def test_a_jump_in_a_turn(with_codex: Supervise, stub_model: StubModel, wall_clock: WallClock, days: int) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("begun "), gate.step, Text("and ended"))
    settings = {"turns": {"stall_after": 60}, "instances": {"idle_after": 60}}
    async with with_codex(settings, program=wall_clock.program) as supervisor:
        limit = Duration(seconds=60)
        async with asking(supervisor, "long", timeout=limit) as asked:
            await asked.reached("text")
            wall_clock.jump(days * DAY_S)
            gate.release()
            turn = await asked.turn()
        assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "begun and ended")
        assert turn.timings.total.ToNanoseconds() < 30e9
        later = await supervisor.client.ask("later")
        listed = await supervisor.client.turns.List(turns_pb2.ListTurnsRequest())
        assert [found.id for found in listed.turns] == [later.id, turn.id], "newest first, by acceptance"
        assert (await supervisor.client.instance()).state == instances_pb2.INSTANCE_STATE_READY


@pytest.mark.parametrize("days", [1, -1])
async def test_a_time_limit_holds_over_a_jump(
    with_codex: Supervise, stub_model: StubModel, wall_clock: WallClock, days: int
) -> None:
    gate = stub_model.gate()
    stub_model.script(gate.step)
    async with (
        with_codex(program=wall_clock.program) as supervisor,
        # Long enough for a busy machine to start Codex in it.
        asking(supervisor, "hangs", timeout=Duration(seconds=4)) as asked,
    ):
        await gate.reached()
        wall_clock.jump(days * DAY_S)
        turn = await asked.turn()
        gate.release()
        assert (turn.outcome, turn.cause) == (outcome_pb2.OUTCOME_FAILED, outcome_pb2.CAUSE_TIMED_OUT)
        assert 3.9e9 < turn.timings.total.ToNanoseconds() < 20e9


@pytest.mark.parametrize("days", [1, -1])
async def test_a_jump_while_the_supervisor_is_away(
    with_codex: Supervise, stub_model: StubModel, wall_clock: WallClock, days: int
) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("begun "), gate.step, Text("and ended"))
    async with with_codex(program=wall_clock.program) as supervisor:
        async with asking(supervisor, "long", timeout=Duration(seconds=60)) as asked:
            await asked.reached("text")
            await gate.reached()
            await supervisor.kill()
        wall_clock.jump(days * DAY_S)
        await supervisor.start()
        gate.release()
        request = turns_pb2.AttachRequest(turn_id=asked.request.request_id)
        events = [answer.event async for answer in supervisor.client.turns.Attach(request, timeout=40)]
        turn = events[-1].ended.turn
        assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "begun and ended")
        assert 0 <= turn.timings.total.ToNanoseconds() < 60e9


@pytest.mark.parametrize("days", [1, -1])
async def test_a_jump_in_the_back_off(
    with_fake: Supervise, fake_codex: FakeCodex, wall_clock: WallClock, days: int
) -> None:
    fake_codex.turn_knobs(Knobs(exit_code=1, starts=(2, 3)))
    settings = {"instances": {"backoff_initial": 0.3, "backoff_max": 0.3, "restart_burst": 10}}
    async with with_fake(settings, program=wall_clock.program) as supervisor:
        await supervisor.client.ask("first")
        wall_clock.jump(days * DAY_S)
        os.kill(await child_pid(supervisor), signal.SIGKILL)
        assert (await supervisor.client.ask("second")).outcome == outcome_pb2.OUTCOME_COMPLETED
        assert fake_codex.starts == 4
        await supervisor.client.instances.Stop(instances_pb2.StopRequest(instance=ref("main")))
