"""What a task does and has changed, from the events of its turn."""

from __future__ import annotations

import pytest
from codex_control.v1 import outcome_pb2, turns_pb2
from codex_supervisor.store.records import Usage
from codex_supervisor.task.progress import (
    MAX_ITEM_CHARACTERS,
    MAX_PROGRESS_CHARACTERS,
    Coalescer,
    Work,
    one_line,
    recorded_item,
    result_of,
)
from codex_supervisor.task.records import TaskResult
from hypothesis import given
from hypothesis import strategies as st


def event(**content: object) -> turns_pb2.TurnEvent:
    return turns_pb2.TurnEvent(**content)  # type: ignore[arg-type]


def command(status: str, item: str = "c1", line: str = "make", exit_code: int | None = None) -> turns_pb2.TurnEvent:
    return event(command=turns_pb2.CommandRun(item_id=item, command=line, status=status, exit_code=exit_code))


def file(path: str, status: str = "completed") -> turns_pb2.TurnEvent:
    return event(file=turns_pb2.FileChange(item_id="f", path=path, kind="update", status=status))


def plan(*steps: tuple[str, str]) -> turns_pb2.TurnEvent:
    return event(plan=turns_pb2.PlanUpdated(steps=[turns_pb2.PlanStep(text=t, status=s) for t, s in steps]))


def fed(*events: turns_pb2.TurnEvent) -> Work:
    work = Work("/w")
    for one in events:
        work.feed(one)
    return work


def test_progress_says_what_is_done_now() -> None:
    work = fed(event(started=turns_pb2.TurnStarted(thread_id="t")))
    assert (work.progress, work.thread_id) == ("started", "t")
    work.feed(plan(("look", "completed"), ("write", "inProgress"), ("test", "pending")))
    assert work.progress == "plan 2/3 write: started"
    work.feed(command("inProgress"))
    assert work.progress == "plan 2/3 write: runs make"
    work.feed(command("completed", exit_code=2))
    assert work.progress == "plan 2/3 write: ran make (exit code 2)"
    work.feed(file("/w/a.py", "inProgress"))
    assert work.progress == "plan 2/3 write: changes a.py"
    work.feed(plan(("look", "completed"), ("write", "completed")))
    assert work.progress == "plan 2/2: changes a.py"


def test_a_command_beside_others_that_run_on() -> None:
    work = fed(
        command("inProgress", "c1", "sleep 1"), command("inProgress", "c2", "sleep 2"), command("completed", "c2")
    )
    assert work.progress == "runs sleep 1"
    assert list(work.running) == ["c1"]


def test_a_retry_of_the_provider_and_a_recovery_are_shown() -> None:
    work = fed(event(retry=turns_pb2.ProviderRetry(message="503", count=2)))
    assert work.progress == "the model provider failed, try 3: 503"
    work.feed(command("inProgress"))
    work.feed(event(recovery=turns_pb2.RecoveryReport(what_happened="the child died", what_next="it goes on")))
    assert work.progress == "the child died; it goes on"
    assert not work.running, "what the dead child ran is gone"


def test_only_changes_that_took_place_count() -> None:
    work = fed(
        file("/w/a.py", "inProgress"), file("/w/b.py", "declined"), file("/w/c/d.py"), file("e.py"), file("/x/f")
    )
    assert work.files_changed == ("c/d.py", "e.py", "/x/f")


def test_the_diff_adds_what_no_item_told() -> None:
    work = fed(file("/w/a.py"))
    diff = (
        "diff --git a/w/a.py b/w/a.py\n--- a/w/a.py\n+++ b/w/a.py\n@@ -1,2 +1 @@\n--- comment\n-x\n+++ y\n"
        "--- /dev/null\n+++ b/w/new.py\n@@ -0,0 +1 @@\n+z\n\\ No newline at end of file\n--- a/old\n+++ /dev/null\n"
    )
    work.take_diff(diff, "/")
    assert work.files_changed == ("a.py", "new.py", "/old")


@given(st.text(max_size=3000))
def test_progress_is_one_short_line(text: str) -> None:
    shown = one_line(text)
    assert len(shown) <= MAX_PROGRESS_CHARACTERS
    assert all(sign.isprintable() for sign in shown)


def test_deltas_are_not_recorded_and_long_messages_are_cut() -> None:
    assert recorded_item(event(text=turns_pb2.TextDelta(text="x"))) is None
    assert recorded_item(event(usage=outcome_pb2.TokenUsage(input=1))) is None
    assert recorded_item(event(ended=turns_pb2.TurnEnded())) is None
    long = event(message=turns_pb2.MessageCompleted(text="x" * (MAX_ITEM_CHARACTERS + 1)), seq=7)
    kept = turns_pb2.TurnEvent.FromString(recorded_item(long) or b"")
    assert (len(kept.message.text), kept.seq) == (MAX_ITEM_CHARACTERS + 1, 7)
    assert len(long.message.text) == MAX_ITEM_CHARACTERS + 1, "the event itself is not changed"


def result(answer: str, *, schema: str = "{}", completed: bool = True, before: TaskResult | None = None) -> TaskResult:
    return result_of(
        answer,
        schema=schema,
        files_changed=("a",),
        usage=Usage(input=1, output=2),
        before=before or TaskResult(),
        completed=completed,
    )


def test_figures_come_from_a_structured_answer() -> None:
    found = result('{"summary": "well", "testsRun": 5, "testsPassed": 4}')
    assert (found.summary, found.tests_run, found.tests_passed) == ("well", 5, 4)


@pytest.mark.parametrize(
    "answer", ["all 5 tests pass", '{"testsRun": "5"}', '{"testsRun": true}', '{"testsRun": -1}', "[5]", "[" * 9999]
)
def test_other_words_are_no_figures(answer: str) -> None:
    found = result(answer)
    assert (found.tests_run, found.tests_passed) == (None, None)
    assert found.summary == answer[:500]


def test_without_a_schema_an_answer_is_not_looked_into() -> None:
    assert result('{"testsRun": 5}', schema="").tests_run is None
    assert result('{"testsRun": 5}', completed=False).tests_run is None


def test_tokens_of_all_attempts_are_added_and_the_worktree_is_kept() -> None:
    found = result("", before=TaskResult(usage=Usage(input=10, output=20, context_window=9), branch="b", worktree="/w"))
    assert found.usage == Usage(input=11, output=22, context_window=9)
    assert (found.branch, found.worktree) == ("b", "/w")


def test_progress_is_told_at_most_once_in_its_time_and_the_last_is_not_lost() -> None:
    line = Coalescer(1.0)
    assert (line.due_at(), line.take(0.0)) == (None, None)
    line.offer("a")
    assert line.take(10.0) == "a"
    line.offer("b")
    assert (line.take(10.5), line.due_at()) == (None, 11.0)
    line.offer("c")
    assert (line.take(11.0), line.take(20.0)) == ("c", None)
    line.offer("d")
    assert line.take(20.0) == "d"
    line.offer("e")
    assert line.take(20.1, last=True) == "e"
    line.offer("f")
    line.offer("e")
    assert line.take(99.0) is None, "it is what was shown last"
