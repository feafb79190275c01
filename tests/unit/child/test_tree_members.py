"""Who belongs to a child's tree, told from one look at the process table."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from codex_supervisor.child.processes import ProcessInfo
from codex_supervisor.child.tree import Marks, members

SUPERVISOR, CHILD, OTHER_CHILD, STRANGER = 10, 100, 200, 300
TOKEN = {"CODEX_SUPERVISOR_CHILD": "t1"}
THREAD = {"CODEX_THREAD_ID": "th"}


def process(pid: int, ppid: int, *, sid: int = 0, pgid: int = 0, name: str = "x", start: int = 1000) -> ProcessInfo:
    return ProcessInfo(pid, ppid, pgid or pid, sid or pid, name, zombie=False, start_time=start)


TABLE = [
    process(1, 0, start=1),
    process(5, 1, name="shell", start=2),
    process(SUPERVISOR, 5, start=3),
    process(CHILD, SUPERVISOR, name="codex"),
    process(OTHER_CHILD, SUPERVISOR, name="codex"),
    process(STRANGER, 1),
]
ENVIRONMENTS: dict[int, Mapping[str, str]] = {CHILD: TOKEN, OTHER_CHILD: {"CODEX_SUPERVISOR_CHILD": "t2"}}


def found(
    *more: ProcessInfo,
    environments: Mapping[int, Mapping[str, str]] | None = None,
    marks: Marks | None = None,
    without: int = 0,
    in_cgroup: tuple[int, ...] = (),
) -> set[int]:
    table = [entry for entry in (*TABLE, *more) if entry.pid != without]
    known = {**ENVIRONMENTS, **(environments or {})}
    marks = marks or fresh_marks()
    return {entry.pid for entry in members(table, marks, known.get, in_cgroup, own_pid=SUPERVISOR)}


def fresh_marks() -> Marks:
    return Marks("t1", frozenset({"th"}), (CHILD, 1000), 1000, sessions={CHILD}, groups={CHILD})


def test_the_child_alone() -> None:
    assert found() == {CHILD}


def test_descendants_in_sessions_of_their_own() -> None:
    assert found(process(101, CHILD), process(102, 101), process(301, STRANGER)) == {CHILD, 101, 102}


@pytest.mark.parametrize("environment", [TOKEN, THREAD])
def test_an_orphan_with_a_mark_and_what_it_started(environment: Mapping[str, str]) -> None:
    assert found(process(101, 1), process(102, 101), environments={101: environment}) == {CHILD, 101, 102}


def test_an_unmarked_orphan_in_the_childs_session() -> None:
    # An MCP server after its Codex was killed.
    assert found(process(101, SUPERVISOR, sid=CHILD), without=CHILD) == {101}


def test_an_unmarked_orphan_in_a_group_that_had_a_member() -> None:
    marks = fresh_marks()
    leader, companion = process(101, CHILD), process(102, CHILD, sid=101, pgid=101)
    assert found(leader, companion, marks=marks) == {CHILD, 101, 102}
    orphan = process(102, 1, sid=101, pgid=101)
    assert found(orphan, marks=marks, without=CHILD) == {102}
    # Once the group was seen empty its number may be anybody's.
    assert found(marks=marks, without=CHILD) == set()
    assert found(process(103, 1, sid=101, pgid=101), marks=marks, without=CHILD) == set()


def test_a_stranger_with_the_childs_pid() -> None:
    stranger = process(CHILD, 1, start=2000)
    marks = Marks("t1", frozenset({"th"}), (CHILD, 1000), 1000)
    assert found(stranger, marks=marks, without=CHILD, environments={CHILD: {}}) == set()


def test_nothing_older_than_the_child() -> None:
    assert found(process(101, 1, start=999), environments={101: TOKEN}) == {CHILD}


def test_never_another_childs() -> None:
    environments = {101: {"CODEX_SUPERVISOR_CHILD": "t2"} | THREAD}
    assert found(process(101, CHILD), environments=environments) == {CHILD}


def test_never_the_supervisor_or_what_is_above_it() -> None:
    # A supervisor that somebody started from a shell of Codex carries that shell's marks.
    environments: dict[int, Mapping[str, str]] = {SUPERVISOR: TOKEN | THREAD, 5: TOKEN, 1: TOKEN}
    marks = Marks("t1", frozenset({"th"}))
    assert found(environments=environments, marks=marks) == {CHILD}


def test_never_the_supervisors_own_session() -> None:
    marks = fresh_marks()
    found(process(101, CHILD, sid=SUPERVISOR, pgid=SUPERVISOR), marks=marks)
    assert SUPERVISOR not in marks.sessions | marks.groups


def test_a_persons_own_codex_on_the_same_thread() -> None:
    codex, command = process(400, 5, name="codex"), process(401, 400)
    assert found(codex, command, environments={401: THREAD}) == {CHILD}


def test_zombies_are_gone() -> None:
    zombie = ProcessInfo(101, CHILD, 101, 101, "x", zombie=True, start_time=1000)
    assert found(zombie) == {CHILD}


def test_the_cgroup_knows_them_all() -> None:
    assert found(process(101, 1), in_cgroup=(101,)) == {CHILD, 101}


def test_a_loop_of_parents_ends() -> None:
    # Two reads of a changing table can give one.
    assert found(process(401, 402), process(402, 401), environments={401: THREAD}) == {CHILD, 401, 402}
