"""What was decided, as a sentence."""

from __future__ import annotations

import ast
import logging
from pathlib import Path
from typing import Any

import codex_control
import pytest
from codex_control.service.logs import JsonFormatter
from codex_supervisor import event_sentences
from codex_supervisor.event_sentences import sentence_of
from codex_supervisor.log_reading import LogLine, parse_line
from hypothesis import given
from hypothesis import strategies as st

SOURCES = Path(event_sentences.__file__).parent
ALL_SOURCES = (SOURCES, Path(codex_control.__file__).parent)


def told(name: str, level: str = "info", **fields: object) -> str | None:
    """The sentence for a record as the supervisor writes it to its log and reads it back."""
    made = logging.makeLogRecord({"msg": name, "levelname": level.upper(), "name": "codex_supervisor.x", **fields})
    return sentence_of(parse_line(JsonFormatter().format(made).encode()))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"was": "stopped", "state": "starting", "because": "TurnAccepted", "attempt": 1},
            "stopped -> starting: a turn was accepted; child 1 is started",
        ),
        (
            {"was": "starting", "state": "busy", "because": "ChildReady", "attempt": 1, "turn": "t1"},
            "starting -> busy: the child is ready; turn t1 runs",
        ),
        (
            {
                "was": "busy",
                "state": "backoff",
                "because": "ChildDied",
                "attempt": 1,
                "why": "killed",
                "wait_s": 0.125,
                "turn": "t1",
            },
            "busy -> backoff: the child died (killed); the next child is started in 0.125 s and carries turn t1 on",
        ),
        (
            {"was": "backoff", "state": "starting", "because": "Tick", "attempt": 2},
            "backoff -> starting: the wait is over; child 2 is started",
        ),
        (
            {"was": "busy", "state": "busy", "because": "StopWanted", "turn": "t1", "then": "stopped"},
            "busy: somebody wants it down; when turn t1 is over, it stays down",
        ),
        (
            {"was": "ready", "state": "stopping", "because": "Tick", "then": "hibernated"},
            "ready -> stopping: it was idle; the child is ended, then it sleeps until the next ask",
        ),
        (
            {"was": "stopping", "state": "stopped", "because": "TreeGone"},
            "stopping -> stopped: everything that the child had started is gone",
        ),
        (
            {"was": "starting", "state": "failed", "because": "ChildDied", "why": "exit 1", "wait_s": 600.0},
            "starting -> failed: the child died (exit 1); it is tried again in 600 s, or by `codexctl restart`",
        ),
        (
            {"was": "starting", "state": "failed", "because": "StartRefused", "why": "Codex was not found"},
            "starting -> failed: no start can work (Codex was not found); it stays so until `codexctl restart`",
        ),
    ],
)
def test_changes_of_state(fields: dict[str, Any], sentence: str) -> None:
    assert told("state_changed", instance="main", **fields) == sentence


@pytest.mark.parametrize(
    ("name", "fields", "sentence"),
    [
        (
            "claude_bound",
            {"session": "5f3a", "pid": 17, "source": "clear"},
            "it belongs to Claude Code process 17 (clear)",
        ),
        (
            "claude_gone",
            {"pid": 17, "grace_s": 30.0},
            "its Claude Code process 17 is gone; without another one it hibernates in 30.0 s",
        ),
        (
            "claude_session_ended",
            {"session": "5f3a", "reason": "prompt_input_exit"},
            "Claude Code says that its session ended: prompt input exit",
        ),
        (
            "turn_ended",
            {"turn": "t1", "outcome": "failed", "cause": "quota", "total_s": 1.234},
            "turn t1 failed (quota) after 1.23 s",
        ),
        (
            "turn_ended",
            {"turn": "t1", "outcome": "completed", "cause": "", "total_s": 7200},
            "turn t1 completed after 7200 s",
        ),
        (
            "turn_recovered",
            {
                "turn": "t1",
                "action": "continue",
                "why": "the child died under the turn: killed",
                "commands": 2,
                "files": 0,
                "took_s": 0.2,
            },
            (
                "turn t1: the child died under the turn: killed; it goes on from what the thread kept "
                "(2 commands, 0 files so far; 0.2 s after the death)"
            ),
        ),
        (
            "turn_recovered",
            {"turn": "t1", "action": "report", "why": "", "commands": 0, "files": 0, "took_s": None},
            "turn t1: the child died; it ends here and is reported (0 commands, 0 files so far)",
        ),
        (
            "turn_stalled",
            {"turn": "t1", "quiet_s": 600, "action": "interrupt"},
            "turn t1 gave no sign of life for 600 s: it is interrupted",
        ),
        (
            "approval_answered",
            {"turn": "t1", "decision": "decline", "by": "nobody_attached"},
            "turn t1: Codex asked, and was refused because nobody was attached to answer",
        ),
        (
            "approval_answered",
            {"turn": "t1", "decision": "accept", "by": "policy"},
            "turn t1: Codex asked, and was allowed by policy (approvals.policy)",
        ),
        ("queue_full", {"limit": 32}, "a turn was refused: 32 wait already (turns.queue_limit)"),
        ("child_adopted", {"pid": 7}, "the child of the earlier supervisor runs on (pid 7) and was adopted"),
        (
            "child_not_adopted",
            {"error": "it is gone"},
            "the child of the earlier supervisor was not adopted, and is proven gone: it is gone",
        ),
        (
            "hibernated",
            {"because": "max_awake"},
            "the idle child is hibernated: more children are awake than instances.max_awake allows",
        ),
        (
            "memory_exceeded",
            {"memory_bytes": 3 * 2**30, "limit_bytes": 2 * 2**30},
            "the child holds 3072 MiB, the limit is 2048 MiB (instances.memory_limit): it is ended between turns",
        ),
        ("probe_missed", {"error": "no answer in 5 s"}, "the child did not answer a probe (no answer in 5 s)"),
        (
            "processes_left",
            {"pids": [1, 2]},
            "processes of the child outlive their end, which is tried again: [1,2]",
        ),
        ("degraded", {"what": "codex", "why": "Codex was not found"}, "degraded (codex): Codex was not found"),
        ("mended", {"what": "codex"}, "no longer degraded (codex)"),
        (
            "reloaded",
            {"applied": ["turns.timeout", "log.level"], "needs_restart": ["metrics.port"]},
            "the configuration was read again; applied: turns.timeout, log.level; waits for a restart: metrics.port",
        ),
        (
            "reloaded",
            {"applied": [], "needs_restart": []},
            "the configuration was read again; applied: nothing new",
        ),
        ("reload_refused", {"why": "line 1"}, "the configuration was not taken, the present one stays: line 1"),
        ("drain_began", {"turns": 2}, "draining: no new turns are accepted; 2 have not ended"),
        ("drain_ended", {"turns": 0}, "the drain was ended: new turns are accepted"),
        ("instance_deleted", {}, "the instance was deleted with its history"),
        (
            "ready",
            {"pid": 7, "version": "1.0", "instances": 3},
            "the supervisor 1.0 is ready (pid 7; 3 instances known)",
        ),
        (
            "stopping",
            {"because": "told to"},
            "the supervisor was told to stop; running turns go on when it is started again",
        ),
        (
            "stopping",
            {"because": "failure"},
            "the supervisor ends because of a failure; running turns go on when it is started again",
        ),
        (
            "task_failed",
            {"task": "status line", "error": "ValueError('x')"},
            "an internal job failed: ValueError('x') (status line)",
        ),
        (
            "stopping",
            {"because": "replacement"},
            "the supervisor makes way for the installed version; children and turns go on",
        ),
    ],
)
def test_what_else_is_decided(name: str, fields: dict[str, Any], sentence: str) -> None:
    assert told(name, instance="main", **fields) == sentence


def test_what_goes_wrong_is_told_though_nobody_wrote_a_sentence_for_it() -> None:
    assert told("no_subreaper", "warning", error="not permitted") == "no subreaper: not permitted"
    assert told("signal_refused", "warning", pid=7) == "signal refused (pid=7)"
    assert told("turns were archived", instance="main", turns=250) == "turns were archived (turns=250)"


def test_the_rest_is_no_event() -> None:
    assert told("interrupt_refused", turn="t1") is None
    assert told("state_changed", "debug", state="ready") is None
    assert sentence_of(LogLine("a line of stderr")) is None
    assert sentence_of(parse_line(b"half a rec")) is None


def test_every_record_that_has_a_sentence_is_written_somewhere() -> None:
    written = {
        node.value
        for folder in ALL_SOURCES
        for source in folder.rglob("*.py")
        if source.name != "event_sentences.py"
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(event_sentences._SENTENCES) - written == set()


NAMES = st.sampled_from(sorted(event_sentences._SENTENCES)) | st.text()
FIELDS = st.dictionaries(
    st.sampled_from(["state", "was", "because", "why", "turn", "then", "wait_s", "took_s", "applied", "memory_bytes"]),
    st.text() | st.integers().map(str),
)


@given(NAMES, FIELDS, st.sampled_from(["debug", "info", "warning", "error", "critical", ""]))
def test_any_record_is_read_without_an_error(name: str, fields: dict[str, str], level: str) -> None:
    sentence = sentence_of(LogLine(name, 1, level, fields))
    assert sentence is None or isinstance(sentence, str)


def test_a_sentence_keeps_the_paths_in_it_and_a_name_becomes_words() -> None:
    sentence = "after `/venv/codex_cli_bin/bin/codex login` the real one answers"
    assert sentence_of(LogLine(sentence, 1, "info", {})) == sentence
    assert sentence_of(LogLine("never_heard_of", 1, "warning", {})) == "never heard of"
