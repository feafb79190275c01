"""Ctrl-C while a turn is followed in a pipe."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from tests.support.waiting import wait_for_sync

from .conftest import Ctl
from .fake_supervisor import FakeSupervisor, FakeTurn


def until_interrupted(turn: FakeTurn) -> None:
    """Runs until somebody interrupts it."""
    turn.text("so far")
    turn.wait_for(lambda: turn.interrupts)
    turn.end("so far", "CANCELLED", "USER", "it was interrupted")


def endless(turn: FakeTurn) -> None:
    """Goes on whatever happens."""
    turn.text("so far")


def press_when_running(fake: FakeSupervisor, process: subprocess.Popen[str]) -> None:
    """The first Ctrl-C, once the client has the receipt."""
    assert process.stderr is not None
    assert process.stderr.readline().startswith("turn 01TURN0001 ")
    process.send_signal(signal.SIGINT)


def test_the_first_interrupts_the_turn_and_waits_for_its_record(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = until_interrupted
    with ctl.process("ask", "hi") as process:
        press_when_running(fake, process)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (6, "")
    assert "interrupting the turn; Ctrl-C again leaves it running" in err
    assert err.splitlines()[-1] == "codexctl: the turn was cancelled (user): it was interrupted"


def test_the_second_leaves_at_once_and_says_how_to_attach(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = endless
    with ctl.process("ask", "hi") as process:
        press_when_running(fake, process)
        wait_for_sync(lambda: fake.turn().interrupts, what="the interrupt to arrive")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "left; the turn goes on · attach with: codexctl attach 01TURN0001"
    assert "Traceback" not in err
    fake.turn().end()


def test_an_interrupt_survives_a_lost_connection(ctl: Ctl, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        turn.wait_for(lambda: turn.watchers == 1)
        fake.stop()
        ready.touch()

    ready: Path = ctl.directory / "stopped"
    fake.script = script
    with ctl.process("ask", "hi") as process:
        wait_for_sync(ready.exists, what="the service to be gone")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        wait_for_sync(lambda: "interrupting" in (process.stderr.readline() if process.stderr else ""))
        fake.start()
        wait_for_sync(lambda: fake.turn().interrupts, what="the interrupt to arrive")
        fake.turn().end("", "CANCELLED", "USER")
        process.communicate(timeout=20)
    assert process.returncode == 6


def test_a_client_that_is_killed_leaves_the_turn_alone(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = endless
    with ctl.process("ask", "hi") as process:
        assert process.stderr is not None
        assert process.stderr.readline()
        process.kill()
        process.communicate(timeout=20)
    wait_for_sync(lambda: fake.turn().watchers == 0, what="the stream to be closed")
    assert fake.turn().interrupts == 0
    fake.turn().end("the answer")
    assert ctl("attach", "01TURN0001").out == "the answer\n"


def test_ctrl_c_in_another_verb_is_quiet(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = endless
    ctl("ask", "hi", "--detach")
    with ctl.process("interrupt", "01TURN0001") as process:
        wait_for_sync(lambda: fake.turn().interrupts, what="the request to arrive")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "")
    fake.turn().end()
