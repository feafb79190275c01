"""The main job as a person does it: `codexctl` asks, the service runs the real Codex, a stub model answers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codex_control.errors import Exit
from codex_control.v1 import turns_pb2

from tests.support.codex_home import CodexHome
from tests.support.model_script import Command, Stall, Status, Text, Usage
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def values(self) -> list[Any]:
        """The lines of `--json`."""
        return [json.loads(line) for line in self.out.splitlines()]


async def start_ctl(supervisor: RunningSupervisor, *arguments: str) -> asyncio.subprocess.Process:
    """Start `codexctl` in the workspace of the test, its standard streams being pipes."""
    environment = {**supervisor.environment, "CODEXCTL_NO_START": "1"}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "codexctl", *arguments),
        env=environment,
        cwd=supervisor.home.workspace,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def finish(process: asyncio.subprocess.Process, stdin: bytes = b"") -> Done:
    """Wait for its end."""
    out, err = await asyncio.wait_for(process.communicate(stdin), 30)
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def ctl(supervisor: RunningSupervisor, *arguments: str, stdin: bytes = b"") -> Done:
    """Run `codexctl` to its end."""
    return await finish(await start_ctl(supervisor, *arguments), stdin)


async def test_an_ask_in_a_pipe_prints_the_answer_and_nothing_else(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    stub_model.script(Text("The answer is **42**."), Usage(10, 0, 5, 0))
    done = await ctl(supervisor, "ask", "-i", "main", "--cwd", ".", "what is the answer?")
    assert done.code == Exit.OK
    assert done.out.strip() == "The answer is **42**."
    listed = await supervisor.client.turns.List(turns_pb2.ListTurnsRequest())
    assert listed.turns[0].id in done.err
    assert listed.turns[0].cwd == str(supervisor.home.workspace)

    # The prompt from standard input, in the same conversation.
    done = await ctl(supervisor, "ask", "-i", "main", "-", stdin="and in ünicode?\n".encode())
    assert done.code == Exit.OK
    assert done.out.strip() == "stub: and in ünicode?"
    assert len(stub_model.requests[-1].user_texts) >= 2


async def test_the_json_of_an_ask_is_the_turn_with_everything(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    command = Command("echo it-ran", {"sandbox_permissions": "require_escalated", "justification": "to see"})
    stub_model.script(command)
    stub_model.script(Text("done"))
    done = await ctl(supervisor, "ask", "-i", "main", "--json", "run it")
    assert done.code == Exit.OK
    assert all(isinstance(value, dict) for value in done.values)
    assert '"done"' in done.out
    assert "declined" in done.out, "nobody was there to allow it"
    history = await ctl(supervisor, "history", "-i", "main", "--json")
    assert history.code == Exit.OK
    assert "run it" in history.out
    assert "done" in history.out


async def test_a_detached_ask_is_attached_to_later(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("slowly "), gate, Text("answered"))
    done = await ctl(supervisor, "ask", "-i", "main", "--detach", "take your time")
    assert done.code == Exit.OK
    (turn_id,) = done.out.split()
    await gate.reached()
    attached = await start_ctl(supervisor, "attach", turn_id)
    gate.release()
    done = await finish(attached)
    assert done.code == Exit.OK
    assert done.out.strip() == "slowly answered"


async def test_a_client_that_is_killed_loses_no_answer(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(gate, Text("still answered"))
    asking = await start_ctl(supervisor, "ask", "-i", "main", "--request-id", "mine", "hello")
    await gate.reached()
    asking.send_signal(signal.SIGKILL)
    await finish(asking)
    gate.release()
    done = await ctl(supervisor, "ask", "-i", "main", "--request-id", "mine", "hello")
    assert (done.code, done.out.strip()) == (Exit.OK, "still answered")
    assert stub_model.received == 1


async def test_ctrl_c_interrupts_the_turn_and_waits_for_its_record(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    stub_model.script(Text("endless "), Stall())
    asking = await start_ctl(supervisor, "ask", "-i", "main", "go on for ever")
    await stub_model.wait_for_requests(1)
    asking.send_signal(signal.SIGINT)
    done = await finish(asking)
    assert done.code == Exit.CANCELLED
    status = await ctl(supervisor, "status", "main", "--json")
    assert status.code == Exit.OK
    assert "READY" in status.out.upper()


async def test_exit_codes_say_how_it_ended(
    supervisor: RunningSupervisor, stub_model: StubModel, codex_home: CodexHome
) -> None:
    codex_home.configure(stub_model.base_url, provider="request_max_retries = 0\nstream_max_retries = 0")
    stub_model.script(Status(401), times=None)
    failed = await ctl(supervisor, "ask", "-i", "main", "fail")
    assert failed.code == Exit.FAILED
    assert failed.out == ""
    assert "codex login" in failed.err
    stub_model.reset()
    stub_model.script(Stall())
    timed_out = await ctl(supervisor, "ask", "-i", "main", "--timeout", "1s", "stall")
    assert timed_out.code == Exit.TIMED_OUT
    for arguments, code in (
        (("ask", "-i", "main", "--profile", "hihg", "x"), Exit.NOT_FOUND),
        (("ask", "-i", "main", "--image", "/no/such.png", "x"), Exit.USAGE),
        (("ask", "-i", "main", "--cwd", "/no/such", "x"), Exit.USAGE),
        (("ask", "-i", "main", ""), Exit.USAGE),
        (("attach", "nonsense"), Exit.NOT_FOUND),
        (("stop", "nobody"), Exit.NOT_FOUND),
    ):
        done = await ctl(supervisor, *arguments)
        assert (done.code, done.out) == (code, ""), (arguments, done)
        assert done.err.strip()
        assert "Traceback" not in done.err


async def test_without_a_service_it_says_so(supervisor: RunningSupervisor) -> None:
    await supervisor.stop()
    done = await ctl(supervisor, "ask", "-i", "main", "hello")
    assert done.code == Exit.UNAVAILABLE
    assert done.out == ""
    assert "Traceback" not in done.err
    assert Path(supervisor.state_dir).exists()


async def test_an_ask_outlives_the_service(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("before "), gate, Text("and after"))
    asking = await start_ctl(supervisor, "ask", "-i", "main", "hello")
    await gate.reached()
    os.kill(supervisor.pid, signal.SIGKILL)
    await supervisor.restart()
    gate.release()
    done = await finish(asking)
    assert done.code == Exit.OK
    assert done.out.strip() == "before and after"
    assert stub_model.received == 1
