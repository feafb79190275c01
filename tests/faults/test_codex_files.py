"""Codex's own files are deleted, damaged or torn under it: the conversation goes on where its rollout file is whole."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from codex_control.v1 import outcome_pb2

from tests.faults.watching import asking, child_pid, kill_child
from tests.support.model_script import Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor


def databases(home: Path) -> list[Path]:
    """Codex's SQLite files with what belongs to them."""
    found = sorted(home.glob("*.sqlite*"))
    assert found, "Codex keeps no SQLite files any more?"
    return found


def delete_databases(home: Path) -> None:
    for path in databases(home):
        path.unlink()


def damage_databases(home: Path) -> None:
    for path in databases(home):
        path.write_bytes(b"\xde\xad\xbe\xef" * 1024)


def tear_rollout(home: Path) -> None:
    (rollout,) = (home / "sessions").rglob("*.jsonl")
    data = rollout.read_bytes().rstrip(b"\n")
    rollout.write_bytes(data[:-20])


def garbage_behind_rollout(home: Path) -> None:
    (rollout,) = (home / "sessions").rglob("*.jsonl")
    with rollout.open("ab") as file:
        file.write(b'{"type":"event_msg","payl\x00\xff\xfe')


@pytest.mark.parametrize(
    "damage",
    [delete_databases, damage_databases, tear_rollout, garbage_behind_rollout],
    ids=lambda damage: damage.__name__,
)
@pytest.mark.parametrize("moment", ["idle", "mid-turn"])
async def test_the_conversation_goes_on(
    supervisor: RunningSupervisor, stub_model: StubModel, damage: Callable[[Path], None], moment: str
) -> None:
    first = await supervisor.client.ask("my name is Ada")
    if moment == "idle":
        pid = await child_pid(supervisor)
        os.kill(pid, signal.SIGSTOP)
        damage(supervisor.home.codex_home)
        os.kill(pid, signal.SIGKILL)
        second = await supervisor.client.ask("what is my name?")
    else:
        gate = stub_model.gate()
        stub_model.script(Text("half "), gate.step)
        async with asking(supervisor, "what is my name?") as asked:
            await gate.reached()
            pid = await child_pid(supervisor)
            os.kill(pid, signal.SIGSTOP)
            damage(supervisor.home.codex_home)
            os.kill(pid, signal.SIGKILL)
            gate.release()
            second = await asked.turn()
    assert second.outcome == outcome_pb2.OUTCOME_COMPLETED, second.error
    assert second.answer == "stub: what is my name?"
    assert second.thread_id == first.thread_id
    assert stub_model.requests[-1].user_texts == ("my name is Ada", "what is my name?")


async def test_a_conversation_whose_file_is_gone_begins_anew_and_says_so(supervisor: RunningSupervisor) -> None:
    first = await supervisor.client.ask("my name is Ada")
    await kill_child(supervisor)
    for rollout in (supervisor.home.codex_home / "sessions").rglob("*.jsonl"):
        rollout.unlink()
    delete_databases(supervisor.home.codex_home)
    async with asking(supervisor, "what is my name?") as asked:
        turn = await asked.turn()
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED, turn.error
    assert turn.thread_id != first.thread_id
    warnings = [event.warning.message for event in asked.events if event.HasField("warning")]  # type: ignore[attr-defined]
    assert any(first.thread_id in warning and "a new one begins" in warning for warning in warnings), warnings
