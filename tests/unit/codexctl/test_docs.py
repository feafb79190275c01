"""The pages about codexctl name what there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
from codex_control.errors import Exit
from codex_control.service.console_script import CLOSED_PIPE
from codex_control.v1.turns_pb2 import CommandRun, RecoveryReport
from codex_supervisor.child.exitwatch import ExitStatus
from codex_supervisor.config.turns import OnInterrupted
from codex_supervisor.turn.recovery import ACTIONS
from codexctl.json_schema import VERBS as DESCRIBED
from codexctl.root import VERBS, cli
from codexctl.view.lines import recovery_line

DOCS = Path(__file__).parents[3] / "docs"


def test_every_verb_is_in_the_table() -> None:
    page = (DOCS / "codexctl.md").read_text()
    named = set(re.findall(r"`([a-z]+)[ `]", page))
    assert set(VERBS) <= named


def test_the_verbs_that_may_start_the_service_are_those_of_the_table() -> None:
    page = (DOCS / "codexctl.md").read_text().partition("## Which instance")[0]
    told = set()
    for row in re.findall(r"^\| (`.*) \|.*\| ([^|]*) \|$", page, re.MULTILINE):
        verbs = re.findall(r"`([a-z]+)", row[0].partition(":")[0])
        told |= set(re.findall(r"`([a-z]+)`", row[1])) or set(verbs if row[1] == "yes" else ())
    starting = {path.split()[1] for path, options in options_of(cli, "codexctl") if "--no-start" in options}
    assert told - {"hook", "mcp"} == starting


def options_of(command: click.Command, path: str) -> Iterator[tuple[str, set[str]]]:
    """All options of `command` and of all below it."""
    yield path, {option for parameter in command.params for option in parameter.opts}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from options_of(below, f"{path} {name}")


def test_every_exit_code_is_in_the_table() -> None:
    page = (DOCS / "codexctl.md").read_text()
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == {*map(int, Exit), CLOSED_PIPE}


def test_every_verbs_json_is_in_the_table() -> None:
    page = (DOCS / "json.md").read_text()
    for name, definition in DESCRIBED.items():
        verb = name.split()[0]
        rows = [line for line in page.splitlines() if line.startswith("| ") and f"`{verb}" in line]
        assert any(f"`{definition}`" in row for row in rows), name


def test_the_readme_shows_what_is_printed_when_codex_dies() -> None:
    report = RecoveryReport(
        what_happened=f"the child died under the turn: Codex ended: {ExitStatus(signal=9)}",
        what_next=ACTIONS[OnInterrupted.CONTINUE][1],
        commands=[CommandRun(command="pytest -x tests/test_login.py")],
        superseded_item_ids=["m1"],
    )
    assert recovery_line(report) in " ".join((DOCS.parent / "README.md").read_text().split())
