"""What a turn is sent with: an override that sticks is not sent twice, and one in doubt is sent again."""

from __future__ import annotations

from dataclasses import dataclass

from codex_supervisor.child.awake import LoadedThread
from codex_supervisor.config.profiles import Effort, Profile
from codex_supervisor.house import House
from codex_supervisor.store.records import InstanceRecord, TurnRecord, TurnRequest
from codex_supervisor.turn.threads import note_sent, turn_params

RECORD = InstanceRecord(id="main", created_ns=0, default_model="own", default_effort="medium")


@dataclass
class Owner:
    house: House = None  # type: ignore[assignment] # not used here
    record: InstanceRecord = RECORD

    def save(self, record: InstanceRecord) -> None:
        self.record = record


def turn(cwd: str = "/work") -> TurnRecord:
    request = TurnRequest(prompt="hi", cwd=cwd)
    return TurnRecord(id="t", request_id="r", instance="main", request=request, accepted_ns=0)


def sent(owner: Owner, thread: LoadedThread, profile: Profile, cwd: str = "/work") -> dict[str, str]:
    """The overrides that go with a turn."""
    turn_params(owner, thread, turn(cwd), profile, go_on=False)
    return thread.sent


def test_what_sticks_is_sent_once() -> None:
    owner, thread = Owner(), LoadedThread("t1", "workspace-write", "")
    first = sent(owner, thread, Profile())
    assert first == {
        "cwd": "/work",
        "model": "own",
        "effort": "medium",
        "summary": str(Profile().summary),
        "approval_policy": "on-request",
    }
    note_sent(owner, thread, Profile())
    assert sent(owner, thread, Profile()) == {}


def test_a_change_is_sent_and_so_is_the_way_back() -> None:
    owner, thread = Owner(), LoadedThread("t1", "workspace-write", "")
    sent(owner, thread, Profile())
    note_sent(owner, thread, Profile())
    high = Profile(effort=Effort.HIGH)
    assert sent(owner, thread, high, cwd="/elsewhere") == {"cwd": "/elsewhere", "effort": "high"}
    note_sent(owner, thread, high)
    assert sent(owner, thread, Profile()) == {"cwd": "/work", "effort": "medium"}


def test_another_model_is_told_the_effort_too() -> None:
    owner, thread = Owner(), LoadedThread("t1", "workspace-write", "")
    sent(owner, thread, Profile())
    note_sent(owner, thread, Profile())
    assert sent(owner, thread, Profile(model="other")) == {"model": "other", "effort": "medium"}


def test_what_codex_may_not_have_taken_is_sent_again() -> None:
    owner, thread = Owner(), LoadedThread("t1", "workspace-write", "")
    sent(owner, thread, Profile())
    note_sent(owner, thread, Profile())
    sent(owner, thread, Profile(effort=Effort.HIGH))
    assert sent(owner, thread, Profile()) == {"effort": "medium"}
