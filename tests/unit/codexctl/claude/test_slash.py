"""The /codex commands: free text stays what it is, and the plugin has a file for each command."""

from __future__ import annotations

import re

import pytest
from codex_control.errors import BadInput
from codexctl.claude.plugin import PLUGIN, TEMPLATE
from codexctl.claude.slash import (
    USAGES,
    Ask,
    CancelTask,
    Help,
    ListTasks,
    Review,
    SetProfile,
    SetSwitch,
    ShowResult,
    ShowSettings,
    Slash,
    Start,
    Status,
    Stop,
    SubmitTask,
    help_text,
    parse,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("command", "text", "meant"),
    [
        ("ask", " a  b\n", Ask(" a  b\n")),
        ("config", "", ShowSettings()),
        ("config", " high ", SetProfile("high")),
        ("reasoning", "On", SetSwitch("show_reasoning", on=True)),
        ("final_only", "off", SetSwitch("final_only", on=False)),
        ("status", "", Status()),
        ("start", " ", Start()),
        ("stop", "", Stop(force=False)),
        ("stop", "--force", Stop(force=True)),
        ("help", "", Help()),
        ("review", "", Review("", "")),
        ("review", "races and --base too", Review("", "races and --base too")),
        ("review", "--base main", Review("main", "")),
        ("review", "--base main  a\nb ", Review("main", "a\nb ")),
        ("review", "--base=v1.0 a", Review("v1.0", "a")),
        ("task", " a  b\n", SubmitTask(" a  b\n")),
        ("tasks", " ", ListTasks()),
        ("result", "", ShowResult("")),
        ("result", " T-1\n", ShowResult("T-1")),
        ("cancel", "T-1", CancelTask("T-1")),
    ],
)
def test_what_is_meant(command: str, text: str, meant: Slash) -> None:
    assert parse(command, text) == meant


@given(st.sampled_from(sorted(USAGES)), st.text())
def test_any_text_is_understood_or_refused_with_an_example(command: str, text: str) -> None:
    refused, meant = None, None
    try:
        meant = parse(command, text)
    except BadInput as error:
        refused = error
    if refused is not None:
        assert USAGES[command].example in refused.next_step
        assert len(refused.what) < 200
    assert not isinstance(meant, Ask | SubmitTask) or meant.text == text


@pytest.mark.parametrize("command", USAGES)
def test_examples_are_right(command: str) -> None:
    name, _, text = USAGES[command].example.partition(" ")
    assert name == f"/codex-{command}"
    parse(command, text)


def test_help_has_every_command() -> None:
    assert all(f"/codex-{command}" in help_text() for command in USAGES)


def test_the_plugin_has_a_file_for_each_command() -> None:
    files = {path.stem: path.read_text() for path in (TEMPLATE / PLUGIN / "commands").glob("*.md")}
    assert set(files) == set(USAGES)
    for command, text in files.items():
        head = dict(re.findall(r"^([a-z-]+): (.*)$", text.split("---")[1], re.MULTILINE))
        assert head["name"] == f"codex-{command}"
        assert head["disable-model-invocation"] == "true"
        assert head.get("argument-hint", '""').strip('"') == USAGES[command].takes
        # What the model reads where the hook did not run must not make it answer, and must hold no free text.
        assert "Do nothing else" in text
        assert "$" not in text
        assert "!`" not in text
