"""Tables on a terminal of 80 columns: what is to be typed again is whole, what matters least goes first."""

from __future__ import annotations

from io import StringIO

from codex_control.v1.admin_pb2 import VersionResponse
from codex_control.v1.instances_pb2 import INSTANCE_STATE_HIBERNATED, Instance
from codex_control.v1.tasks_pb2 import Task
from codex_control.v1.turns_pb2 import Turn
from codexctl import instance_table, task_table, turn_table
from codexctl.output import table_lines
from codexctl.view.top_screen import _screen
from rich.console import Console

WIDTH = 80
METRICS = "http://127.0.0.1:9464/metrics"


def instance() -> Instance:
    made = Instance(id="dir-codex-supervisor-1a2b3c4d", state=INSTANCE_STATE_HIBERNATED, turn_id="01m7y31n671jfhvm")
    made.child.pid = 2484711
    made.child.memory_bytes = 80 * 2**20
    made.settings.profile = "default"
    made.since.FromSeconds(1)
    made.detail = "it died five times in a row, and the last time with a reason that is long"
    return made


def test_a_terminal_of_80_columns_shows_instance_state_and_pid_whole() -> None:
    rows = [instance_table.row(instance())]
    heading, line = table_lines(instance_table.HEADINGS, rows, width=WIDTH, expendable=instance_table.EXPENDABLE)
    assert line.split()[:3] == ["dir-codex-supervisor-1a2b3c4d", "hibernated", "2484711"]
    assert max(len(heading), len(line)) <= WIDTH
    assert "QUEUE" not in heading
    assert heading.endswith("DETAIL")
    assert line.endswith("…")


def test_top_on_80_columns_shows_the_pid_and_the_address_whole() -> None:
    version = VersionResponse(version="1.2.3", pid=4711, codex_version="0.163.0", metrics_url=METRICS)
    version.started_at.FromSeconds(1)
    console = Console(width=WIDTH, file=StringIO(), highlight=False)
    with console.capture() as shown:
        console.print(_screen(version, {"one": instance()}, WIDTH, 24))
    lines = shown.get().splitlines()
    assert lines[1] == METRICS
    assert lines[3].split()[:3] == ["dir-codex-supervisor-1a2b3c4d", "hibernated", "2484711"]
    assert len(lines) == 4


def test_what_is_never_cut_may_be_wider_than_the_terminal() -> None:
    assert table_lines(("A", "B", "C"), [["a" * 90, "b", "c" * 9]], width=WIDTH, expendable=("C",))[1].endswith("a  b")


def test_no_terminal_and_a_wide_one_get_every_column() -> None:
    rows = [instance_table.row(instance())]
    for width in (0, 400):
        heading, line = table_lines(instance_table.HEADINGS, rows, width=width, expendable=instance_table.EXPENDABLE)
        assert heading.split() == list(instance_table.HEADINGS)
        assert line.endswith("that is long")


def test_history_on_80_columns_leaves_room_for_the_prompt() -> None:
    turn = Turn(id="01m7y31n671jfhvm", instance="dir-codex-supervisor-1a2b3c4d", outcome="OUTCOME_COMPLETED")
    turn.accepted_at.FromSeconds(1_700_000_000)
    turn.prompt = "why does test_login fail in the morning?"
    rows = [turn_table.row(turn)]
    one = table_lines(turn_table.HEADINGS, rows, width=WIDTH, expendable=turn_table._EXPENDABLE)
    assert one[0].split() == ["TURN", "ACCEPTED", "OUTCOME", "PROMPT"]
    assert "why does test_login" in one[1]
    every = table_lines(turn_table.HEADINGS, rows, width=WIDTH, expendable=turn_table._EXPENDABLE_OF_ALL)
    assert every[0].split() == ["TURN", "INSTANCE", "OUTCOME", "PROMPT"]


def test_tasks_on_80_columns_show_id_state_and_some_of_the_prompt() -> None:
    task = Task(id="01m7y31n671jfhvm", state="TASK_STATE_ERROR", outcome="TASK_OUTCOME_CHILD_DIED", error="x" * 99)
    task.spec.prompt = "port the tests to pytest"
    heading, line = table_lines(
        task_table.HEADINGS, [task_table.row(task, WIDTH)], width=WIDTH, expendable=task_table.EXPENDABLE
    )
    assert heading.split() == ["TASK", "STATE", "NOW", "PROMPT"]
    assert line.startswith("01m7y31n671jfhvm  ERROR (child died)  xxx")
    assert "port the tests" in line
    assert len(line) <= WIDTH
