"""Every verb but ask and attach: what people see, and that its JSON is as documented."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from codex_control.service.console_script import CLOSED_PIPE
from codex_control.v1 import admin_pb2, history_pb2
from codex_control.v1 import instances_pb2 as ipb
from codex_control.v1 import turns_pb2 as tpb
from codexctl import wait_notice
from codexctl.instance_table import HEADINGS
from codexctl.json_schema import VERBS, printed_schema
from codexctl.turn_table import local_time
from google.protobuf import timestamp_pb2

from .conftest import Ctl
from .fake_supervisor import FakeSupervisor

# Command lines whose verb needs more than its name.
LINES = {
    "approve": "approve ap1",
    "ask": "ask hi",
    "attach": "attach 01TURN0001",
    "claude gate": "claude gate on",
    "config set": "config set profile high",
    "delete": "delete project --yes",
    "history --clear": "history --clear --yes",
    "status INSTANCE": "status project",
    "steer": "steer more",
}
# In the tests of this folder the service is a thread of the test; test_shutdown.py has a process.
ENDS_THE_SERVICE = {"shutdown"}
NOT_RUNNING = ("approve", "deny", "drain", "events", "interrupt", "logs", "reload", "steer", "stop", "top")


def put_stand_in_for_claude(ctl: Ctl) -> None:
    """A `claude` that agrees to everything; the acceptance tests have the real one."""
    program = Path(ctl.environment["HOME"], "programs", "claude")
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    ctl.environment["PATH"] = f"{program.parent}:{ctl.environment['PATH']}"


# test_task.py has a service with tasks.
OF_TASKS = {name for name in VERBS if name.startswith("task ")}


@pytest.mark.parametrize("name", sorted(VERBS.keys() - ENDS_THE_SERVICE - OF_TASKS))
def test_json_of_every_verb_fits_its_schema(ctl: Ctl, fake: FakeSupervisor, name: str) -> None:
    if name.startswith("claude "):
        put_stand_in_for_claude(ctl)
    ctl("ask", "first")
    fake.logs = [admin_pb2.LogsResponse(level="info", message="started", fields={"pid": "1"})]
    fake.events = [admin_pb2.EventsResponse(level="info", event="ready", sentence="it is ready", fields={"pid": "1"})]
    result = ctl(*LINES.get(name, name).split(), "--json")
    assert result.code == 0, result.err
    schema = printed_schema() | {"$ref": f"#/$defs/{VERBS[name]}"}
    assert result.json_lines
    for value in result.json_lines:
        jsonschema.validate(value, schema)


@pytest.mark.parametrize("verb", [*NOT_RUNNING, "status", "health"])
def test_verbs_that_do_not_start_the_service_say_that_it_does_not_run(ctl: Ctl, verb: str) -> None:
    result = ctl(*LINES.get(verb, verb).split())
    assert (result.code, result.out) == (3, "")
    assert result.err.startswith("codexctl: the service is not running: nothing answers on ")
    assert "next: `codexctl start` starts it" in result.err


def test_status_is_a_table(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.version.metrics_url = "http://127.0.0.1:9999/metrics"
    fake.version.demo_model = True
    fake.version.degraded.append("the old database was set aside")
    other = fake.instances["broken"] = ipb.Instance(id="broken", state=ipb.INSTANCE_STATE_FAILED, queued=2)
    other.detail = "died 5 times\nin a row \x1b[31m"
    lines = ctl("status").out.splitlines()
    assert lines[0].startswith("codex-supervisor 9.9.9 · up ")
    assert lines[0].endswith("pid 4711 · codex 0.163.0 · http://127.0.0.1:9999/metrics")
    assert lines[1].startswith("demo model: ")
    assert lines[2] == "degraded: the old database was set aside"
    assert lines[3].split() == list(HEADINGS)
    assert lines[4].startswith("project   ready ")
    assert lines[5].split(None, 9) == ["broken", "failed", "-", "-", "-", "-", "2", "0", "-", "died 5 times in a row"]


def test_status_without_instances_says_how_to_make_one(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.instances.clear()
    assert "codexctl ask" in ctl("status").out


def test_status_of_one_instance_is_everything(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.instances["project"].stderr_tail.append("panic: no \x1b[1mdisk")
    shown = dict(line.split(None, 1) for line in ctl("status", "project").out.splitlines())
    assert shown["workspace"] == "/home/u/project"
    assert shown["memory"] == "150 MiB"
    assert shown["approval_policy"] == "interactive"
    assert shown["final_only"] == "false"
    assert shown["stderr"] == "panic: no disk"


def test_status_of_an_unknown_instance(ctl: Ctl, fake: FakeSupervisor) -> None:
    assert ctl("status", "nothing").code == 4


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_start_stop_and_restart_print_the_state(ctl: Ctl, fake: FakeSupervisor, verb: str) -> None:
    state = "stopped" if verb == "stop" else "ready"
    assert ctl(verb, "project").out == f"project: {state}\n"


def test_a_stop_that_waits_says_for_what(ctl: Ctl, fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait_notice, "PATIENCE_S", 0.02)
    fake.instances["project"].turn_id = "01TURN0009"
    said = []

    def say(text: str) -> None:
        said.append(text)
        fake.stop_allowed.set()

    monkeypatch.setattr(wait_notice, "say", say)
    for force in ((), ("--force",)):
        fake.stop_allowed.clear()
        assert ctl("stop", "project", *force).out == "project: stopped\n"
    assert said == [
        "waiting for turn 01TURN0009 to end; --force cuts it off (Ctrl-C leaves, and the wish stands)",
        "waiting until every process of the child is gone",
    ]


def test_a_stop_whose_time_is_up_says_how_it_stands(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.stop_allowed.clear()
    fake.instances["project"].detail = "two processes are left"
    result = ctl("stop", "project", "--timeout", "0.1s", "--json")
    fake.stop_allowed.set()
    assert result.code == result.json["error"]["exit_code"] == 8
    assert result.err.splitlines()[0] == "codexctl: the child of project is not gone yet: two processes are left."


def test_a_wait_for_a_child_that_cannot_be_started_says_why(
    ctl: Ctl, fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait_notice, "PATIENCE_S", 0.02)
    fake.instances["project"].MergeFrom(ipb.Instance(state=ipb.INSTANCE_STATE_BACKOFF, detail="no gateway runs"))
    fake.stop_allowed.clear()
    said = []

    def say(text: str) -> None:
        said.append(text)
        fake.stop_allowed.set()

    monkeypatch.setattr(wait_notice, "say", say)
    assert ctl("start", "project").code == 0
    assert said == ["waiting until the child is ready: no gateway runs"]


def test_a_stop_that_is_quick_says_nothing(ctl: Ctl, fake: FakeSupervisor) -> None:
    assert ctl("stop", "project").err == ""


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "status", "delete", "logs"])
def test_minus_i_works_after_every_verb(ctl: Ctl, fake: FakeSupervisor, verb: str) -> None:
    more = ("--yes",) if verb == "delete" else ()
    assert ctl(verb, "-i", "project", *more).code == 0
    both = ctl(verb, "project", "-i", "other", *more)
    assert (both.code, both.out) == (2, "")
    assert "two instances are named: project and other" in both.err


def test_delete_names_its_instance_and_asks_only_about_one_that_exists(ctl: Ctl, fake: FakeSupervisor) -> None:
    assert ctl("delete", "--yes").code == 2
    unknown = ctl("delete", "nope")
    assert unknown.code == 4
    assert "--yes" not in unknown.err
    assert "--yes" in ctl("delete", "project").err


def test_force_is_sent(ctl: Ctl, fake: FakeSupervisor) -> None:
    ctl("stop", "project", "--force")
    assert fake.last(ipb.StopRequest).force
    ctl("restart", "project", "--force")
    assert fake.last(ipb.RestartRequest).force


def test_a_new_instance_gets_its_directory(ctl: Ctl, fake: FakeSupervisor) -> None:
    ctl("start", "project", "--cwd", "..")
    assert fake.last(ipb.StartRequest).cwd == str(ctl.directory.parent)
    ctl("start", "project")
    assert fake.last(ipb.StartRequest).cwd == str(ctl.directory)


def test_delete(ctl: Ctl, fake: FakeSupervisor) -> None:
    assert ctl("delete", "project", "--yes").out == "project is deleted\n"
    assert fake.instances == {}


def test_config_is_listed_read_and_set(ctl: Ctl, fake: FakeSupervisor) -> None:
    listed = dict(line.split(None, 1) for line in ctl("config", "get").out.splitlines())
    assert listed == {
        "profile": "default",
        "show_reasoning": "false",
        "final_only": "false",
        "approval_policy": "interactive",
        "on_interrupted": "-",
        "cwd": "-",
    }
    assert ctl("config", "get", "profile").out == "default\n"
    assert ctl("config", "set", "on-interrupted", "replay", "-i", "project").out == "on_interrupted   replay\n"
    request = fake.last(ipb.ConfigureRequest)
    assert request == ipb.ConfigureRequest(instance={"id": "project"}, on_interrupted=ipb.ON_INTERRUPTED_REPLAY)


def test_profiles(ctl: Ctl, fake: FakeSupervisor) -> None:
    lines = ctl("profiles").out.splitlines()
    assert lines[1].split() == ["high", "high", "-", "auto", "workspace-write", "-"]


def test_turns_are_listed_by_state_and_instance(ctl: Ctl, fake: FakeSupervisor) -> None:
    ctl("ask", "first")
    lines = ctl("turns", "--state", "ended", "--state", "running", "--limit", "7").out.splitlines()
    assert lines[1].split()[0] == "01TURN0001"
    assert "completed" in lines[1]
    request = fake.last(tpb.ListTurnsRequest)
    assert list(request.states) == [tpb.TURN_STATE_ENDED, tpb.TURN_STATE_RUNNING]
    assert (request.page_size, request.instance.workspace) == (7, str(ctl.directory))
    ctl("turns", "--all")
    assert not fake.last(tpb.ListTurnsRequest).HasField("instance")


def test_history_is_paged_over_the_services_own_pages(ctl: Ctl, fake: FakeSupervisor) -> None:
    for number in range(5):
        ctl("ask", f"prompt {number}")
    shown = [turn["prompt"] for turn in ctl("history", "--limit", "2", "--page", "2", "--json").json_lines]
    assert shown == ["prompt 2", "prompt 1"]
    assert ctl("history", "--page", "9").out == "nothing here\n"


def test_history_is_searched(ctl: Ctl, fake: FakeSupervisor) -> None:
    ctl("ask", "apples")
    ctl("ask", "Pears")
    assert [turn["prompt"] for turn in ctl("history", "--search", "pears", "--json").json_lines] == ["Pears"]
    assert fake.last(history_pb2.SearchRequest).instance.workspace == str(ctl.directory)


def test_history_is_exported_oldest_first_as_json(ctl: Ctl, fake: FakeSupervisor) -> None:
    ctl("ask", "one")
    ctl("ask", "two")
    assert [turn["prompt"] for turn in ctl("history", "--export", "--all").json_lines] == ["one", "two"]


def test_history_of_one_turn_is_everything(ctl: Ctl, fake: FakeSupervisor) -> None:
    ctl("ask", "the prompt")
    turn = fake.turn().record
    turn.answer = "line one\nline \x1b[31mtwo"
    turn.commands.add(command="ls -l", exit_code=0, status="completed")
    turn.files.add(path="a.py", kind="add", status="completed")
    out = ctl("history", "01TURN0001").out
    for expected in ("completed", "  the prompt", "  ls -l (exit 0)", "  added: a.py", "  line one\n  line two\n"):
        assert expected in out


def test_history_is_cleared_with_leave(ctl: Ctl, fake: FakeSupervisor) -> None:
    ctl("ask", "x")
    assert ctl("history", "--clear", "--yes").out == "1 entries are deleted\n"
    assert fake.last(history_pb2.ClearRequest).instance.workspace == str(ctl.directory)


def test_logs(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.logs = [
        admin_pb2.LogsResponse(level="warning", message="child_died", fields={"pid": "7", "instance": "project"}),
        admin_pb2.LogsResponse(message="a line of \x1b[31mstderr"),
    ]
    result = ctl("logs", "project", "-f", "-n", "5", "--stderr")
    assert result.out == "warning child_died instance=project pid=7\na line of stderr\n"
    request = fake.last(admin_pb2.LogsRequest)
    assert (request.instance.id, request.tail, request.follow, request.stderr) == ("project", 5, True, True)


def test_events(ctl: Ctl, fake: FakeSupervisor) -> None:
    at = timestamp_pb2.Timestamp(seconds=1_700_000_000)
    fake.events = [
        admin_pb2.EventsResponse(at=at, level="info", event="ready", sentence="the supervisor is ready"),
        admin_pb2.EventsResponse(
            at=at, level="warning", event="probe_missed", instance="project", sentence="a \x1b[31mprobe\nwas missed"
        ),
    ]
    result = ctl("events", "-i", "project", "-f", "-n", "5")
    when = local_time(at.seconds)
    assert result.out == f"{when} the supervisor is ready\n{when} [warning] project: a probe was missed\n"
    request = fake.last(admin_pb2.EventsRequest)
    assert (request.instance.id, request.tail, request.follow) == ("project", 5, True)
    ctl("events")
    assert not fake.last(admin_pb2.EventsRequest).HasField("instance")


def test_interrupt_names_the_turn_or_the_instance(ctl: Ctl, fake: FakeSupervisor) -> None:
    ctl("ask", "x")
    assert ctl("interrupt", "01TURN0001").out.startswith("01TURN0001: completed")
    ctl("interrupt", "-i", "project")
    assert fake.last(tpb.InterruptRequest) == tpb.InterruptRequest(instance={"id": "project"})


def test_steer(ctl: Ctl, fake: FakeSupervisor) -> None:
    assert ctl("steer", "-", "--turn", "t9", stdin=b"faster").out == "turn t9 has the text\n"
    assert fake.last(tpb.SteerRequest) == tpb.SteerRequest(turn_id="t9", text="faster")


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("approve ap7", tpb.RespondRequest(approval_id="ap7", decision=tpb.DECISION_ACCEPT)),
        (
            "approve ap7 --session --answer q=a=b",
            tpb.RespondRequest(approval_id="ap7", decision=tpb.DECISION_ACCEPT_FOR_SESSION, answers={"q": "a=b"}),
        ),
        ("approve -i p", tpb.RespondRequest(instance={"id": "p"}, decision=tpb.DECISION_ACCEPT)),
        ("deny ap7", tpb.RespondRequest(approval_id="ap7", decision=tpb.DECISION_DECLINE)),
        ("deny ap7 --cancel", tpb.RespondRequest(approval_id="ap7", decision=tpb.DECISION_CANCEL)),
    ],
)
def test_approve_and_deny(ctl: Ctl, fake: FakeSupervisor, line: str, request_: tpb.RespondRequest) -> None:
    assert ctl(*line.split()).code == 0
    assert fake.last(tpb.RespondRequest) == request_


def test_doctor_shows_each_check_with_its_fix(ctl: Ctl, fake: FakeSupervisor) -> None:
    assert ctl("doctor").code == 0
    fake.checks.append(
        admin_pb2.Check(name="codex", status=admin_pb2.CHECK_STATUS_ERROR, found="missing", fix="install it")
    )
    result = ctl("doctor")
    assert result.code == 9, "as codex-supervisor doctor has it"
    *lines, unseen = result.out.splitlines()
    assert lines == [
        "ok       socket  there",
        "error    codex   missing",
        "                 fix: install it",
    ]
    assert unseen.startswith("not looked at: the model provider; the gateway's endpoints")


def test_doctor_without_the_service_checks_the_way_to_it(ctl: Ctl) -> None:
    assert "not looked at: whether Codex works, its login and its sandbox" in ctl("doctor").out.splitlines()[-1]
    result = ctl("doctor", "--json")
    assert result.code == 9
    checks = {check["name"]: check for check in result.json}
    assert checks["service"]["status"] == "error"
    assert checks["service"]["fix"]
    assert checks["control directory"]["status"] == "warning"
    jsonschema.validate(result.json, printed_schema() | {"$ref": "#/$defs/Checks"})


def test_health(ctl: Ctl, fake: FakeSupervisor) -> None:
    assert (ctl("health").code, ctl("health").out) == (0, "serving\n")
    fake.health("NOT_SERVING")
    assert (ctl("health").code, ctl("health").out) == (3, "not serving\n")
    fake.version.task_engine = "postgresql"
    assert ctl("health").out == "not serving\ntasks in postgresql\n"
    fake.version.task_trouble = "the task database is away"
    assert ctl("health").out == "not serving\ntasks in postgresql: the task database is away\n"
    found = ctl("health", "--json").json
    assert found["tasks"] == {"engine": "postgresql", "trouble": "the task database is away"}
    jsonschema.validate(found, printed_schema() | {"$ref": "#/$defs/Health"})


def test_version_with_and_without_the_service(ctl: Ctl, fake: FakeSupervisor) -> None:
    assert "codex-supervisor 9.9.9 (pid 4711)\ncodex 0.163.0" in ctl("version").out
    fake.stop()
    result = ctl("version")
    assert (result.code, result.out.splitlines()[1]) == (0, "the service is not running")
    assert ctl("version", "--json").json["service"] is None


def test_reload(ctl: Ctl, fake: FakeSupervisor) -> None:
    assert ctl("reload").out == "in force: profiles.low\nwaits for a restart of the service: metrics.port\n"
    assert not fake.last(admin_pb2.ReloadRequest).exec
    replaced = ctl("reload", "--exec")
    assert fake.last(admin_pb2.ReloadRequest).exec
    assert replaced.out.startswith("the service has replaced its program: codex-supervisor ")


def test_reload_says_that_the_demo_goes_on(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.version.demo_model = True
    fake.reloaded = ["codex.provider"]
    out = ctl("reload").out
    assert out.startswith("waits for the end of the demo: codex.provider (the demo model answers until ")
    assert "in force" not in out


def test_reload_waits_for_the_new_program(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.replaces_program = False
    result = ctl("reload", "--exec", "--timeout", "0.2s")
    assert (result.code, result.out) == (3, "")
    assert "the new one does not answer" in result.err


def test_drain(ctl: Ctl, fake: FakeSupervisor) -> None:
    assert (ctl("drain").code, ctl("drain").out) == (0, "at rest\n")
    fake.drained_remaining = 2
    result = ctl("drain", "--timeout", "2s")
    assert (result.code, result.out) == (8, "2 turns have not ended\n")
    assert fake.last(admin_pb2.DrainRequest).timeout.seconds == 2
    assert ctl("drain", "--resume").code == 0


def test_top_in_a_pipe_is_a_line_for_each_change(ctl: Ctl, fake: FakeSupervisor) -> None:
    assert ctl("top").out.startswith("project  ready  ")


def test_top_in_a_pipe_ends_with_its_reader(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.hold_watch = True
    with ctl.process("top") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("project  ready  ")
        process.stdout.close()
        assert process.wait(timeout=20) == CLOSED_PIPE


def test_top_once_shows_what_is_and_ends(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.hold_watch = True
    for line in (["top", "--once"], ["top", "--once", "project"]):
        headings, project = ctl(*line).out.splitlines()
        assert headings.split()[:2] == list(HEADINGS[:2])
        assert project.startswith("project")
        shown = ctl(*line, "--json").json
        jsonschema.validate(shown, printed_schema() | {"$ref": "#/$defs/WatchInstancesResponse"})
        assert shown["instance"]["id"] == "project"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(ctl: Ctl, shell: str) -> None:
    result = ctl("completion", shell)
    assert result.code == 0
    assert "_CODEXCTL_COMPLETE" in result.out


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("codexctl stop pr", "project"),
        ("codexctl attach 01TURN", "01TURN0001"),
        ("codexctl ask --profile hi", "high"),
        ("codexctl config set prof", "profile"),
    ],
)
def test_what_the_running_service_knows_is_completed(
    ctl: Ctl, fake: FakeSupervisor, words: str, completed: str
) -> None:
    fake.instances["other"] = ipb.Instance(id="other")
    ctl("ask", "first")
    ctl.environment |= {
        "_CODEXCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    with ctl.process() as process:
        out, _ = process.communicate(timeout=20)
    assert out.splitlines() == [f"plain,{completed}"]
