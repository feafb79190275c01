"""`codexctl task`: its verbs against the real service and the embedded engine; the tests are the worker."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from codex_control.errors import Exit, StoreUnavailable
from codex_control.v1 import turns_pb2 as tpb
from codex_supervisor.task.records import TaskOutcome
from codexctl.json_schema import VERBS, printed_schema

from tests.support.waiting import wait_for_sync

from .conftest import Ctl
from .task_service import TaskService
from .test_terminal import plain


def submitted(ctl: Ctl, *arguments: str) -> str:
    """Submit a task, and return its id."""
    done = ctl("task", "submit", *arguments)
    assert done.code == 0, done.err
    return done.out.strip()


def wait_for_watchers(service: TaskService, task_id: str, *, looks_first: bool = True) -> None:
    """Return when a command follows the task; one that `looks_first` has asked how the tasks stand before."""

    def followed() -> bool:
        looked = any("Tasks/Wait" in call for call in service.calls)
        return task_id in service.engine.signals._subscriptions and (looked or not looks_first)

    wait_for_sync(followed, 20, "the command to follow the task")


# --- submit ---------------------------------------------------------------------------------------------------------


def test_submit_prints_the_id_alone_and_the_task_is_as_asked(ctl: Ctl, service: TaskService, home: Path) -> None:
    (home / "schema.json").write_text('{"type": "object"}')
    parent = submitted(ctl, "first")
    done = ctl(
        *("task", "submit", "--json", "--id", "T-2", "--cwd", str(home), "--priority", "5", "--timeout", "1h"),
        *(
            "--retries",
            "0",
            "--after",
            parent,
            "--profile",
            "high",
            "--worktree",
            "--schema",
            str(home / "schema.json"),
        ),
        *("--queue", "night", "--label", "gpu", "--state-dir", "states", "--", "-v $(touch pwned)\n你好 "),
    )
    spec = done.json["spec"]
    assert done.json["id"] == "T-2"
    assert done.json["state"] == "pending"
    assert spec["prompt"] == "-v $(touch pwned)\n你好 "
    assert (spec["cwd"], spec["priority"], spec["timeout"], spec["retries"]) == (str(home), 5, 3600, 0)
    assert (spec["after"], spec["profile"], spec["worktree"]) == ([parent], "high", True)
    assert (spec["output_schema"], spec["queue"], spec["labels"]) == ('{"type": "object"}', "night", ["gpu"])
    assert spec["state_dir"] == str(home / "work" / "states")
    assert len(parent) == 16


def test_submit_works_in_the_git_root_and_reads_stdin(ctl: Ctl, service: TaskService, home: Path) -> None:
    ctl.directory = home / "work" / "below"
    ctl.directory.mkdir()
    done = ctl("task", "submit", "--json", "-", stdin="ünicode\n".encode())
    assert done.json["spec"]["cwd"] == str(home / "work")
    assert done.json["spec"]["prompt"] == "ünicode\n"


def test_the_same_id_finds_the_same_task_and_another_request_is_refused(ctl: Ctl, service: TaskService) -> None:
    submitted(ctl, "--id", "T-1", "one")
    again = ctl("task", "submit", "--id", "T-1", "one")
    assert (again.code, again.out) == (0, "T-1\n")
    assert "was submitted before" in again.err
    other = ctl("task", "submit", "--id", "T-1", "two", "--json")
    assert other.code == Exit.CONFLICT
    assert "choose another id" in other.json["error"]["next"]


def test_a_lost_answer_leads_to_the_same_task(ctl: Ctl, service: TaskService, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = service.engine.submit
    accepted: list[str] = []

    async def submit_and_lose(task_id: str, request: object) -> object:
        answer = await taken(task_id, request)  # type: ignore[arg-type] # it is passed on
        accepted.append(task_id)
        if len(accepted) == 1:
            lost.set()
            await service_gone()
        return answer

    async def service_gone() -> None:
        import asyncio

        await asyncio.sleep(PATIENCE)

    PATIENCE, lost = 30, threading.Event()  # noqa: N806
    monkeypatch.setattr(service.engine, "submit", submit_and_lose)

    def cut() -> None:
        lost.wait(20)
        service.stop()
        service.start()

    cutter = threading.Thread(target=cut)
    cutter.start()
    done = ctl("task", "submit", "once")
    cutter.join()
    assert done.code == 0, done.err
    assert accepted == [done.out.strip()] * 2
    assert "trying again" in done.err
    assert "submitted before" not in done.err
    assert len(ctl("task", "list", "--json").json_lines) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("submit", ""), Exit.USAGE, "the prompt is empty"),
        (("submit", "--cwd", "/no/such", "x"), Exit.USAGE, "there is no directory '/no/such'"),
        (("submit", "--schema", "/no/such", "x"), Exit.USAGE, "the schema /no/such cannot be read"),
        (("submit", "--id", "", "x"), Exit.USAGE, "the id is empty"),
        (("submit", "--id", "../x", "x"), Exit.USAGE, "is no id of a task"),
        (("submit", "--id", "T-1", "--after", "T-1", "x"), Exit.USAGE, "comes after itself"),
        (("submit", "--after", "T-9", "x"), Exit.NOT_FOUND, "T-9"),
        (("submit", "--profile", "hihg", "x"), Exit.NOT_FOUND, "did you mean"),
        (("submit", "--queue", "a b", "x"), Exit.USAGE, "is no name of a queue"),
        (("submit", "--timeout", "soon", "x"), Exit.USAGE, "7d"),
        (("submit", "x" * 1_048_577), Exit.LIMIT, "the limit is"),
        (("show", "T-9"), Exit.NOT_FOUND, "there is no task 'T-9'"),
        (("wait", "T-9"), Exit.NOT_FOUND, "there is no task 'T-9'"),
        (("watch", "T-9"), Exit.NOT_FOUND, "there is no task 'T-9'"),
        (("result", "T-9"), Exit.NOT_FOUND, "there is no task 'T-9'"),
        (("cancel", "T-9"), Exit.NOT_FOUND, "there is no task 'T-9'"),
        (("retry", "T-9"), Exit.NOT_FOUND, "there is no task 'T-9'"),
        (("logs", "T-9"), Exit.NOT_FOUND, "there is no task 'T-9'"),
        (("prune", "T-9", "--yes"), Exit.NOT_FOUND, "T-9"),
        (("prune",), Exit.USAGE, "add --yes"),
        (("list", "--state", "dead"), Exit.USAGE, "'dead' is not one of"),
        (("wiat", "T-9"), Exit.USAGE, "did you mean 'wait'?"),
        (("wait",), Exit.USAGE, "TASKS"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_bad_input_is_told_and_changes_nothing(
    ctl: Ctl, service: TaskService, arguments: tuple[str, ...], code: Exit, said: str
) -> None:
    done = ctl("task", *arguments)
    assert (done.code, done.out) == (code, ""), done.err
    assert said.lower() in done.err.lower()
    assert "Traceback" not in done.err
    assert not ctl("task", "list", "--json").out


# --- looking --------------------------------------------------------------------------------------------------------


def test_list_is_newest_first_and_filters(ctl: Ctl, service: TaskService) -> None:
    assert "no tasks yet" in ctl("task", "list").out
    for number in range(3):
        submitted(ctl, "--id", f"T-{number}", "--queue", "night" if number else "default", f"work {number}")
    service.finish(service.claim(), "done")
    assert [task["id"] for task in ctl("task", "list", "--json").json_lines] == ["T-2", "T-1", "T-0"]
    assert [task["id"] for task in ctl("task", "list", "--json", "-n", "2").json_lines] == ["T-2", "T-1"]
    assert [task["id"] for task in ctl("task", "list", "--json", "--state", "done").json_lines] == ["T-0"]
    assert [task["id"] for task in ctl("task", "list", "--json", "--queue", "night").json_lines] == ["T-2", "T-1"]
    shown = ctl("task", "list").out
    assert shown.splitlines()[0].split() == ["TASK", "STATE", "ATTEMPT", "SUBMITTED", "TOOK", "NOW", "PROMPT"]
    assert "DONE" in shown


def test_show_has_everything(ctl: Ctl, service: TaskService) -> None:
    task_id = submitted(ctl, "--priority", "3", "--retries", "1", "two\nlines")
    service.note(service.claim(), "running: pytest")
    shown = ctl("task", "show", task_id).out
    facts = {line[:16].strip(): line[17:] for line in shown.split("\n\n")[0].splitlines()}
    assert facts["task"] == task_id
    assert (facts["state"], facts["progress"], facts["attempt"]) == ("RUNNING", "running: pytest", "1")
    assert (facts["worker"], facts["priority"], facts["retries"]) == ("here", "3", "1")
    assert facts["heartbeat"].endswith("ago")
    assert facts["lease"].startswith("for ")
    assert "prompt:\n  two\n  lines" in shown


def test_logs_are_lines_of_what_it_did(ctl: Ctl, service: TaskService) -> None:
    task_id = submitted(ctl, "x")
    claim = service.claim()
    service.note(
        claim,
        "running: make",
        tpb.TurnEvent(command=tpb.CommandRun(command="make", status="inProgress")),
        tpb.TurnEvent(command=tpb.CommandRun(command="make", status="completed", exit_code=2, output_tail="a\nb\n")),
        tpb.TurnEvent(file=tpb.FileChange(path="x.py", kind="update", status="completed")),
        tpb.TurnEvent(message=tpb.MessageCompleted(text="one\x1b[2J\ntwo")),
    )
    service.finish(claim, "fin")
    lines = [(line["source"], line["text"]) for line in ctl("task", "logs", task_id, "--json").json_lines]
    assert lines[0] == ("task", "PENDING: accepted")
    assert lines[2:] == [
        ("progress", "running: make"),
        ("command", "make"),
        ("output", "a"),
        ("output", "b"),
        ("command", "make (exit 2)"),
        ("file", "update x.py"),
        ("message", "one\x1b[2J"),
        ("message", "two"),
        ("task", "DONE: completed"),
    ]
    shown = ctl("task", "logs", task_id).out
    assert "command  make (exit 2)" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("name", sorted(name for name in VERBS if name.startswith("task ")))
def test_json_of_every_verb_fits_its_schema(ctl: Ctl, service: TaskService, name: str) -> None:
    submitted(ctl, "--id", "T-1", "x")
    claim = service.claim()
    service.note(claim, "busy", tpb.TurnEvent(file=tpb.FileChange(path="x.py", kind="update", status="completed")))
    service.finish(claim, "the answer", TaskOutcome.REFUSED if name == "task retry" else TaskOutcome.COMPLETED)
    more = {"task submit": ["y"], "task list": [], "task prune": ["--yes"]}.get(name, ["T-1"])
    result = ctl(*name.split(), *more, "--json")
    assert result.code == 0, result.err
    assert result.json_lines
    for value in result.json_lines:
        jsonschema.validate(value, printed_schema() | {"$ref": f"#/$defs/{VERBS[name]}"})


# --- waiting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "code", "line"),
    [
        (TaskOutcome.COMPLETED, Exit.OK, "DONE in"),
        (TaskOutcome.REFUSED, Exit.FAILED, "ERROR (refused)"),
        (TaskOutcome.TIMED_OUT, Exit.TIMED_OUT, "TIMEOUT in"),
        (TaskOutcome.CANCELLED, Exit.CANCELLED, "ERROR (cancelled)"),
    ],
)
def test_wait_and_result_say_how_it_ended(
    ctl: Ctl, service: TaskService, outcome: TaskOutcome, code: Exit, line: str
) -> None:
    task_id = submitted(ctl, "x")
    error = "" if outcome is TaskOutcome.COMPLETED else "because"
    with ctl.process("task", "wait", task_id) as waiting:
        wait_for_watchers(service, task_id)
        claim = service.claim()
        service.note(claim, "thinking")
        service.finish(claim, "the answer", outcome, error, files=["a.py"])
        out, err = waiting.communicate(timeout=20)
    assert waiting.returncode == code
    assert out.startswith(f"{task_id} {line}")
    assert "1 file changed" in out
    assert f"{task_id} thinking" in err
    # It has ended by now: no stream is needed.
    again = ctl("task", "wait", task_id)
    assert (again.code, again.out) == (code, out)
    result = ctl("task", "result", task_id)
    assert result.code == code
    assert result.out == ("the answer\n" if outcome is TaskOutcome.COMPLETED else "")
    assert ("the answer" in result.err) == (outcome is not TaskOutcome.COMPLETED)
    whole = ctl("task", "result", task_id, "--json")
    assert (whole.code, whole.json["result"]["answer"], whole.json["error"]) == (code, "the answer", error)


def test_result_of_a_task_that_goes_on(ctl: Ctl, service: TaskService) -> None:
    task_id = submitted(ctl, "x")
    done = ctl("task", "result", task_id)
    assert (done.code, done.out) == (Exit.NOT_ENDED, "")
    assert f"codexctl task wait {task_id}" in done.err


def test_wait_gives_up_after_its_own_time(ctl: Ctl, service: TaskService) -> None:
    first, second = submitted(ctl, "x"), submitted(ctl, "y")
    service.finish(service.claim())
    done = ctl("task", "wait", first, second, "--timeout", "0.2s", "--json")
    assert done.code == Exit.NOT_ENDED
    ended, error = done.json_lines
    assert (ended["id"], ended["state"]) == (first, "done")
    assert error["error"]["reason"] == "NOT_ENDED"
    assert second in error["error"]["next"]
    assert first not in error["error"]["next"]


def test_wait_for_any_and_for_the_worst(ctl: Ctl, service: TaskService) -> None:
    names = [submitted(ctl, "--id", f"T-{number}", "x") for number in range(3)]
    with ctl.process("task", "wait", "--any", *names) as waiting:
        wait_for_watchers(service, "T-2")
        service.finish(service.claim())
        out, _ = waiting.communicate(timeout=20)
    assert waiting.returncode == Exit.OK
    assert out.startswith("T-0 DONE")
    service.finish(service.claim(), outcome=TaskOutcome.TIMED_OUT)
    service.finish(service.claim(), outcome=TaskOutcome.REFUSED)
    assert ctl("task", "wait", "T-0", "T-1").code == Exit.TIMED_OUT
    assert ctl("task", "wait", *names).code == Exit.FAILED
    assert len(ctl("task", "wait", *names, "T-0").out.splitlines()) == 3


def test_submit_and_wait(ctl: Ctl, service: TaskService) -> None:
    with ctl.process("task", "submit", "--id", "T-1", "--wait", "x") as waiting:
        wait_for_watchers(service, "T-1", looks_first=False)
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "T-1\n", "before anything of it starts"
        service.finish(service.claim())
        out, _ = waiting.communicate(timeout=20)
    assert (waiting.returncode, out.split()[:2]) == (0, ["T-1", "DONE"])


def test_wait_of_a_retried_task_waits_for_its_new_end(ctl: Ctl, service: TaskService) -> None:
    submitted(ctl, "--id", "T-1", "x")
    service.finish(service.claim(), outcome=TaskOutcome.REFUSED, error="no")
    assert ctl("task", "retry", "T-1").out == "T-1 PENDING\n"
    wrong = ctl("task", "retry", "T-1")
    assert wrong.code == Exit.CONFLICT
    with ctl.process("task", "watch", "T-1") as watching:
        wait_for_watchers(service, "T-1")
        service.finish(service.claim())
        out, _ = watching.communicate(timeout=20)
    assert watching.returncode == Exit.OK
    lines = [line.split(" ", 3)[3] for line in out.splitlines()]
    assert lines[0] == "PENDING: accepted"
    assert any(line.startswith("ERROR (refused)") for line in lines)
    assert lines[-1].startswith("DONE in")


def test_ctrl_c_leaves_and_the_task_goes_on(ctl: Ctl, service: TaskService) -> None:
    submitted(ctl, "--id", "T-1", "x")
    with ctl.process("task", "wait", "T-1") as waiting:
        wait_for_watchers(service, "T-1")
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=20)
    assert (waiting.returncode, out) == (Exit.DETACHED, "")
    assert "codexctl task wait T-1" in err
    assert ctl("task", "show", "T-1", "--json").json["state"] == "pending"


@pytest.mark.parametrize("times", [1, 3])
def test_watch_over_lost_connections_misses_nothing_and_tells_nothing_twice(
    ctl: Ctl, service: TaskService, times: int
) -> None:
    submitted(ctl, "--id", "T-1", "x")
    submitted(ctl, "--id", "T-2", "y")
    lines: list[str] = []
    with ctl.process("task", "watch", "T-1", "T-2", "--json") as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        wait_for_watchers(service, "T-2")
        service.finish(service.claim())
        claim = service.claim()
        for number in range(times):
            service.note(claim, f"step {number}")
            service.stop()
            service.note(claim, f"unseen {number}")
            service.start()
            # A connection is back with its first event: one that is lost before is no other loss.
            while not lines or f"unseen {number}" not in lines[-1]:
                lines.append(watching.stdout.readline())
                assert lines[-1], "it ended"
        service.finish(claim)
        lines += watching.stdout.readlines()
        err = watching.stderr.read()
    assert watching.returncode == 0
    events = [json.loads(line) for line in lines]
    for name in ("T-1", "T-2"):
        numbers = [event["seq"] for event in events if event["task_id"] == name]
        assert numbers == list(range(1, len(numbers) + 1))
    told = [event["progress"]["text"] for event in events if event["event"] == "progress"]
    assert told == [text for number in range(times) for text in (f"step {number}", f"unseen {number}")]
    assert err.count("trying again") == times


def test_watch_goes_on_when_the_database_is_back(
    ctl: Ctl, service: TaskService, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(ctl, "--id", "T-1", "x")
    service.finish(service.claim())
    known, failures = service.engine.events, [StoreUnavailable("the database is away")]

    async def events(*given: Any, **more: Any) -> Any:
        if failures:
            raise failures.pop()
        return await known(*given, **more)

    monkeypatch.setattr(service.engine, "events", events)
    done = ctl("task", "watch", "T-1", "--json")
    assert done.code == 0
    assert "trying again: the database is away" in done.err
    assert [event["seq"] for event in done.json_lines] == [1, 2, 3]


# --- changing -------------------------------------------------------------------------------------------------------


def test_cancel_ends_a_pending_task_and_asks_a_running_one(ctl: Ctl, service: TaskService) -> None:
    submitted(ctl, "--id", "T-1", "x")
    submitted(ctl, "--id", "T-2", "--after", "T-1", "y")
    claim = service.claim()
    asked = ctl("task", "cancel", "T-1", "--reason", "wrong order")
    assert asked.out.startswith("T-1 RUNNING (stopping)")
    service.finish(claim, outcome=TaskOutcome.CANCELLED)
    assert "wrong order" in ctl("task", "wait", "T-1").out
    child = ctl("task", "wait", "T-2")
    assert child.code == Exit.FAILED
    assert "ERROR (parent failed)" in child.out
    submitted(ctl, "--id", "T-3", "z")
    assert ctl("task", "cancel", "T-3").out.startswith("T-3 ERROR (cancelled)")
    again = ctl("task", "cancel", "T-3")
    assert again.code == 0, "again is the same"
    assert again.out.startswith("T-3 had ended already: ERROR (cancelled)")
    # Neither of them was ever begun.
    assert "/T-2.json" in ctl("task", "show", "T-2").out
    assert "/T-3.json" in ctl("task", "show", "T-3").out


def test_prune_forgets_what_has_ended(ctl: Ctl, service: TaskService) -> None:
    for number in range(4):
        submitted(ctl, "--id", f"T-{number}", "x")
    service.finish(service.claim())
    service.finish(service.claim(), outcome=TaskOutcome.REFUSED)
    assert ctl("task", "prune", "--older-than", "7d", "--yes").out == "0 tasks are forgotten\n"
    alive = ctl("task", "prune", "T-3", "--yes")
    assert alive.code == Exit.CONFLICT
    assert ctl("task", "prune", "--state", "error", "--yes", "--json").json == {"pruned": 1}
    assert ctl("task", "prune", "--yes").out == "1 task is forgotten\n"
    assert [task["id"] for task in ctl("task", "list", "--json").json_lines] == ["T-3", "T-2"]


# --- a terminal -----------------------------------------------------------------------------------------------------


def test_wait_on_a_terminal_shows_what_they_do(ctl: Ctl, service: TaskService) -> None:
    submitted(ctl, "--id", "T-1", "x")
    submitted(ctl, "--id", "T-2", "--after", "T-1", "y")
    with ctl.on_terminal("task", "wait", "T-1", "T-2") as terminal:
        terminal.wait_for_text("T-2 waits for task T-1")
        claim = service.claim()
        service.note(claim, "running: \x1b]0;owned\x07make test")
        terminal.wait_for_text("T-1 running: make test")
        service.finish(claim, files=["a", "b"])
        terminal.wait_for_text("T-1 DONE in")
        service.finish(service.claim(), outcome=TaskOutcome.REFUSED, error="no")
        assert terminal.wait_for_exit() == Exit.FAILED
    shown = plain(terminal.shown)
    assert "2 files changed" in shown
    assert "T-2 ERROR (refused) in" in shown
    assert "\x1b]0" not in terminal.shown


def test_watch_on_a_terminal_shows_what_codex_did_and_ctrl_c_leaves(ctl: Ctl, service: TaskService) -> None:
    submitted(ctl, "--id", "T-1", "x")
    claim = service.claim()
    ran = tpb.CommandRun(command="make", status="completed", exit_code=0)
    with ctl.on_terminal("task", "watch", "T-1") as terminal:
        service.note(claim, "", tpb.TurnEvent(command=ran))
        terminal.wait_for_text("T-1 ran: make (exit 0)")
        terminal.interrupt()
        assert terminal.wait_for_exit() == Exit.DETACHED
    assert "codexctl task wait T-1" in plain(terminal.shown)


def test_result_on_a_terminal_is_rendered_and_harmless(ctl: Ctl, service: TaskService) -> None:
    submitted(ctl, "--id", "T-1", "x")
    service.finish(service.claim(), "It is **bold**.\x1b]0;owned\x07")
    with ctl.on_terminal("task", "result", "T-1") as terminal:
        assert terminal.wait_for_exit() == Exit.OK
    assert "\x1b[1mbold\x1b[0m" in terminal.shown
    assert "\x1b]0" not in terminal.shown
    assert ctl("task", "result", "T-1").out == "It is **bold**.\x1b]0;owned\x07\n", "in a pipe it is what it is"


def test_ids_are_completed(ctl: Ctl, service: TaskService) -> None:
    for name in ("T-1", "T-2", "other"):
        submitted(ctl, "--id", name, "x")
    ctl("task", "cancel", "T-1")

    def completed(words: str) -> list[str]:
        ctl.environment |= {"_CODEXCTL_COMPLETE": "bash_complete", "COMP_WORDS": words}
        ctl.environment["COMP_CWORD"] = str(words.count(" "))
        with ctl.process() as completing:
            out, _ = completing.communicate(timeout=20)
        return out.split()

    assert completed("codexctl task wait T-") == ["plain,T-2", "plain,T-1"]
    assert completed("codexctl task cancel T-") == ["plain,T-2"]
    assert completed("codexctl task retry T-") == ["plain,T-1"]
    assert completed("codexctl task submit --cwd su") == ["dir,su"]
    assert completed("codexctl task submit --schema sc") == ["file,sc"]
