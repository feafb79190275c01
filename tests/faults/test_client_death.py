"""`codexctl` is SIGKILLed while it waits, and the service is restarted under it: the answer is there all the same."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys

from codex_control.v1 import outcome_pb2, turns_pb2

from tests.faults.watching import child_pid, is_running
from tests.support.model_script import Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor
from tests.support.waiting import wait_for


async def codexctl(supervisor: RunningSupervisor, *arguments: str) -> asyncio.subprocess.Process:
    """Start it in the workspace."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "codexctl", *arguments),
        cwd=supervisor.home.workspace,
        env=supervisor.environment | {"CODEXCTL_NO_START": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def output(supervisor: RunningSupervisor, *arguments: str) -> str:
    """Run it to its end, which must be a good one; return what it printed."""
    process = await codexctl(supervisor, *arguments)
    out, errors = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode == 0, errors.decode()
    return out.decode()


async def turn_id(process: asyncio.subprocess.Process) -> str:
    """The id that it prints before the work begins."""
    assert process.stderr is not None
    line = (await asyncio.wait_for(process.stderr.readline(), 20)).decode()
    found = re.search(r"\b[0-9a-z]{16}\b", line)
    assert found, f"no turn id in {line!r}"
    return found[0]


async def test_killed_mid_ask_the_answer_is_in_history_and_attach_shows_it(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("first half, "), gate.step, Text("second half"))
    asking = await codexctl(supervisor, "ask", "-i", "main", "a question")
    turn = await turn_id(asking)
    await gate.reached()
    asking.kill()
    await asking.communicate()
    attached = await codexctl(supervisor, "attach", turn)
    await turn_id(attached)
    gate.release()
    out, _ = await asyncio.wait_for(attached.communicate(), 40)
    assert out.decode().strip() == "first half, second half", "attached while it ran"
    assert (await output(supervisor, "attach", turn)).strip() == "first half, second half", "attached when it had ended"
    entries = [json.loads(line) for line in (await output(supervisor, "history", "--json", "-i", "main")).splitlines()]
    assert "first half, second half" in json.dumps(entries)
    assert turn in json.dumps(entries)
    assert stub_model.received == 1


async def test_killed_while_it_waits_in_the_queue(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(gate.step, Text("one"))
    first = await codexctl(supervisor, "ask", "-i", "main", "first")
    await gate.reached()
    second = await codexctl(supervisor, "ask", "-i", "main", "second")
    turn = await turn_id(second)
    second.kill()
    await second.communicate()
    gate.release()
    out, _ = await asyncio.wait_for(first.communicate(), 40)
    assert out.decode().strip() == "one"
    assert (await output(supervisor, "attach", turn)).strip() == "stub: second"


async def test_restarted_under_a_waiting_codexctl_its_turn_goes_on(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("never finished "), gate.step)
    stub_model.script(Text("the whole answer"))
    asking = await codexctl(supervisor, "ask", "-i", "main", "a question")
    turn = await turn_id(asking)
    await gate.reached()
    child = await child_pid(supervisor)
    # What `systemctl --user restart` does: SIGTERM, the end awaited, a new start.
    assert await supervisor.stop() == 0
    assert not is_running(child), "a stop leaves no child"
    gate.release()
    await supervisor.start()
    out, errors = await asyncio.wait_for(asking.communicate(), 40)
    assert asking.returncode == 0, errors.decode()
    assert out.decode().strip() == "the whole answer"
    assert "trying again" in errors.decode()
    record = (await supervisor.client.turns.Get(turns_pb2.GetTurnRequest(turn_id=turn))).turn
    assert (record.outcome, record.recoveries) == (outcome_pb2.OUTCOME_COMPLETED, 1)


async def test_the_supervisor_killed_under_a_waiting_codexctl(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("first half, "), gate.step, Text("second half"))
    asking = await codexctl(supervisor, "ask", "-i", "main", "a question")
    await turn_id(asking)
    await gate.reached()
    await supervisor.restart()
    gate.release()
    out, errors = await asyncio.wait_for(asking.communicate(), 40)
    assert asking.returncode == 0, errors.decode()
    assert out.decode().strip() == "first half, second half"


async def test_a_second_term_does_not_cut_the_stop_short(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(gate.step)
    asking = await codexctl(supervisor, "ask", "-i", "main", "a question")
    await gate.reached()
    child = await child_pid(supervisor)
    pid = supervisor.pid
    os.kill(pid, signal.SIGTERM)
    await wait_for(lambda: '"stopping"' in supervisor.log(), what="the stop to begin")
    os.kill(pid, signal.SIGTERM)
    assert await supervisor.stop() == 0
    assert not is_running(child)
    gate.release()
    asking.kill()
    await asking.communicate()
