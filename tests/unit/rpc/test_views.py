"""How instances look to clients, and words as numbers of the API."""

from __future__ import annotations

import enum
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from codex_control.errors import BadInput
from codex_control.v1 import instances_pb2
from codex_supervisor.config.turns import ApprovalPolicy, OnInterrupted
from codex_supervisor.instance.shell import InstanceShell
from codex_supervisor.instance.states import (
    Backoff,
    Busy,
    Failed,
    Hibernated,
    Ready,
    Starting,
    State,
    Stopped,
    Stopping,
    Then,
)
from codex_supervisor.rpc.views import APPROVAL_POLICIES, ON_INTERRUPTED, Words, instance_message
from codex_supervisor.store.records import InstanceRecord, SettingsRecord
from msgspec.structs import replace

from tests.unit.house import house_of
from tests.unit.store.samples import opened

# --- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "configured", "numbers"),
    [
        (APPROVAL_POLICIES, ApprovalPolicy, instances_pb2.ApprovalPolicy),
        (ON_INTERRUPTED, OnInterrupted, instances_pb2.OnInterrupted),
    ],
)
def test_every_word_has_its_number_and_every_number_its_word(
    words: Words[int], configured: type[enum.StrEnum], numbers: Any
) -> None:
    assert {words.number(word) for word in configured} == set(numbers.values()) - {0}
    for word in configured:
        assert words.inverse(words.number(word)) == word
        assert configured(words.inverse(words.number(word))) is word, (
            "the journal keeps it as the configuration says it"
        )


@pytest.mark.parametrize("number", [0, 99, -1])
def test_a_number_that_nobody_knows_is_bad_input(number: int) -> None:
    with pytest.raises(BadInput, match="known are auto, interactive, deny"):
        APPROVAL_POLICIES.inverse(number)  # type: ignore[arg-type]


# --- instances ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def shell(tmp_path: Path) -> AsyncIterator[InstanceShell]:
    """An instance that nobody started."""

    record = InstanceRecord(id="blue", created_ns=5_000_000_000, workspace="/w", thread_id="thread")
    async with opened(tmp_path) as store, house_of(tmp_path, store) as house:
        yield InstanceShell(record, house, lambda _: None)


def in_state(shell: InstanceShell, state: State, *queue: str) -> instances_pb2.Instance:
    shell.core = replace(shell.core, state=state, queue=queue)
    return instance_message(shell)


async def test_every_state_has_its_number(shell: InstanceShell) -> None:
    states: list[State] = [
        Stopped(),
        Starting(1, 0.0),
        Ready(1, 0.0),
        Busy(1, "a"),
        Backoff(0.0, "x"),
        Stopping(1, Then.STOP),
        Hibernated(),
        Failed("x", math.inf),
    ]
    numbers = [in_state(shell, state).state for state in states]
    assert sorted(numbers) == sorted(set(instances_pb2.InstanceState.values()) - {0})


async def test_a_detail_says_what_people_ask(shell: InstanceShell) -> None:
    now = shell.house.clock.monotonic()
    details: dict[str, State] = {
        "waits for a restart": Failed("it died", math.inf),
        "it died; tried again in": Failed("it died", now + 100),
        "it died; started again in": Backoff(now + 5, "it died."),
        "then hibernated": Stopping(1, Then.HIBERNATE),
        "after this turn: restart": Busy(1, "a", then=Then.RESTART),
        "turn a is carried on": Starting(1, now, carry_on="a"),
        "carried on then, and after it: stopped": Starting(1, now, carry_on="a", last=True),
        "s, then stopped": Backoff(now + 5, "it died", carry_on="a", last=True),
    }
    for words, state in details.items():
        assert words in in_state(shell, state).detail
    assert in_state(shell, Ready(1, now)).detail == in_state(shell, Busy(1, "a")).detail == ""


async def test_the_rest_of_an_instance(shell: InstanceShell) -> None:
    shell.keeper.stderr_tail = ["last words"]
    busy = in_state(shell, Busy(1, "a"), "b", "c")
    assert (busy.id, busy.turn_id, busy.queued, busy.workspace, busy.thread_id) == ("blue", "a", 2, "/w", "thread")
    assert busy.created_at.seconds == 5
    assert not busy.HasField("child")
    assert list(busy.stderr_tail) == []
    assert list(in_state(shell, Failed("x", 1.0)).stderr_tail) == ["last words"]
    assert in_state(shell, Backoff(0.0, "x", carry_on="a")).turn_id == "a"


async def test_settings_are_the_instances_own_or_the_configured_ones(shell: InstanceShell) -> None:
    defaults = instance_message(shell).settings
    assert defaults == instances_pb2.Settings(
        profile="default",
        approval_policy=instances_pb2.APPROVAL_POLICY_INTERACTIVE,
        on_interrupted=instances_pb2.ON_INTERRUPTED_CONTINUE,
    )
    own = SettingsRecord(
        profile="high", show_reasoning=True, final_only=True, approval_policy="deny", on_interrupted="report", cwd="/c"
    )
    shell.record = InstanceRecord(id="blue", created_ns=0, settings=own)
    assert instance_message(shell).settings == instances_pb2.Settings(
        profile="high",
        show_reasoning=True,
        final_only=True,
        approval_policy=instances_pb2.APPROVAL_POLICY_DENY,
        on_interrupted=instances_pb2.ON_INTERRUPTED_REPORT,
        cwd="/c",
    )
