"""Whose instance a Claude Code session is, as transcripts of what processes show and when they go."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest
from codex_supervisor.claude.binding import MAX_SESSIONS, NEW, Holding, Source, bind, gone, holder_of
from codex_supervisor.store.records import LeaseRecord


def lease(process: str, session: str = "", at: int = 0) -> LeaseRecord:
    """The lease of a process that is called by a letter."""
    return LeaseRecord(session, ord(process), 1, "this boot", at)


@dataclass
class Transcript:
    """A book that is changed as the service changes it. Instances are called 1, 2, … in the order of their making."""

    book: dict[str, Holding] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    now: int = 0

    def shows(self, process: str, session: str, source: Source = Source.STARTUP) -> str:
        """A process shows a session; return its instance."""
        self.now += 1
        bound = bind(self.book, lease(process, session, self.now), source, used=self.used.__contains__)
        made = str(len(self.book) + 1) if bound.instance == NEW else bound.instance
        for name, holding in bound.changes.items():
            self.book[made if name == NEW else name] = holding
        return made

    def goes(self, process: str) -> None:
        """A process is gone."""
        self.now += 1
        instance = holder_of(self.book, lease(process))
        assert instance is not None
        self.book[instance] = gone(self.book[instance], lease(process), self.now)


@pytest.fixture
def story() -> Transcript:
    return Transcript()


def test_each_session_has_its_own_instance(story: Transcript) -> None:
    assert story.shows("a", "red") == "1"
    assert story.shows("b", "blue") == "2"


def test_saying_it_again_changes_nothing(story: Transcript) -> None:
    story.shows("a", "red")
    before = dict(story.book)
    bound = bind(story.book, lease("a", "red", 99), Source.COMPACT, used=story.used.__contains__)
    assert (bound.instance, bound.changes) == ("1", {})
    assert story.book == before


def test_a_cleared_session_keeps_the_instance_of_its_process(story: Transcript) -> None:
    story.shows("a", "red")
    assert story.shows("a", "green", Source.CLEAR) == "1"
    assert story.book["1"].sessions == ("red", "green")
    assert [each.session for each in story.book["1"].leases] == ["green"]


def test_a_resumed_session_has_its_instance_in_a_new_process(story: Transcript) -> None:
    story.shows("a", "red")
    story.goes("a")
    assert story.book["1"].is_left()
    assert story.shows("b", "red", Source.RESUME) == "1"
    assert not story.book["1"].is_left()
    assert [each.pid for each in story.book["1"].leases] == [ord("b")], "the one that is gone is forgotten"


def test_a_session_from_before_a_clear_leads_to_the_instance_too(story: Transcript) -> None:
    story.shows("a", "red")
    story.shows("a", "green", Source.CLEAR)
    story.goes("a")
    assert story.shows("b", "red", Source.RESUME) == "1"


def test_two_sessions_that_once_were_one_process_do_not_meet(story: Transcript) -> None:
    story.shows("a", "red")
    story.shows("a", "green", Source.CLEAR)
    assert story.shows("b", "red", Source.RESUME) == "2", "green is shown with 1 in this moment"
    assert story.book["1"].sessions == ("green",)
    assert story.shows("b", "red", Source.COMPACT) == "2"
    story.goes("a")
    assert story.shows("c", "red", Source.RESUME) == "2", "it stays there"


def test_one_session_in_two_processes_is_one_instance_until_one_leaves_it(story: Transcript) -> None:
    story.shows("a", "red")
    assert story.shows("b", "red", Source.RESUME) == "1"
    assert story.shows("b", "green", Source.CLEAR) == "2"
    assert [each.pid for each in story.book["1"].living()] == [ord("a")]
    story.goes("a")
    assert story.book["1"].is_left()
    assert not story.book["2"].is_left()


def test_an_instance_is_left_when_the_last_process_is_gone(story: Transcript) -> None:
    story.shows("a", "red")
    story.shows("b", "red", Source.RESUME)
    story.goes("a")
    assert not story.book["1"].is_left()
    story.goes("b")
    assert story.book["1"].is_left()


def test_resuming_another_session_in_the_same_process_leaves_the_first(story: Transcript) -> None:
    story.shows("a", "red")
    story.shows("b", "blue")
    story.goes("b")
    assert story.shows("a", "blue", Source.RESUME) == "2"
    assert story.book["1"].is_left()
    assert holder_of(story.book, lease("a")) == "2"


def test_an_unknown_session_that_is_resumed_sees_nothing_of_the_one_before(story: Transcript) -> None:
    story.shows("a", "red")
    story.used.add("1")
    assert story.shows("a", "from long ago", Source.RESUME) == "2"
    assert story.book["1"].is_left()


def test_a_session_that_asked_nothing_gives_its_instance_to_the_resumed_one(story: Transcript) -> None:
    story.shows("a", "just started")
    assert story.shows("a", "from long ago", Source.RESUME) == "1"


def test_a_pid_that_is_used_again_is_another_process(story: Transcript) -> None:
    story.shows("a", "red")
    again = msgspec.structs.replace(lease("a", "blue"), start_time=2)
    assert bind(story.book, again, Source.STARTUP, used=story.used.__contains__).instance == NEW
    other_boot = msgspec.structs.replace(lease("a", "blue"), boot_id="another boot")
    assert bind(story.book, other_boot, Source.STARTUP, used=story.used.__contains__).instance == NEW


def test_many_clears_keep_the_latest_sessions_only(story: Transcript) -> None:
    for number in range(MAX_SESSIONS + 5):
        assert story.shows("a", f"session {number}", Source.CLEAR) == "1"
    kept = story.book["1"].sessions
    assert (len(kept), kept[0], kept[-1]) == (MAX_SESSIONS, "session 5", f"session {MAX_SESSIONS + 4}")
