"""The review gate: before Claude stops, Codex reviews what the session has changed. Off unless the user turned it on.

Its outcomes: `pass` lets Claude stop, `findings` sends it back to work with them, `could not run` lets it stop and says
why. Its turns are in the instance's history, known by their request ids. The same changes are never reviewed twice in a
session; what a review found is told once, also where Claude Code went away before it could be.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from codex_control.errors import CodexError, NotFound, TimedOut

from codexctl.claude.gate_changes import fingerprint_of_changes, note_told, started_at, was_told
from codexctl.claude.gate_settings import GateSettings, load_gate
from codexctl.claude.hook_input import HookInput
from codexctl.session import Session

if TYPE_CHECKING:
    from codex_control.v1.turns_pb2 import Turn

    from codexctl.client import Client
    from codexctl.instance_ref import Named

_MOST_FINDINGS = 20
# The newest turns of the instance that are looked through for earlier rounds: the API's largest page.
_PAGE = 500

_SCHEMA = {
    "type": "object",
    "properties": {
        "verdict": {"type": "string", "enum": ["pass", "findings"]},
        "findings": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"place": {"type": "string"}, "problem": {"type": "string"}},
                "required": ["place", "problem"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["verdict", "findings"],
    "additionalProperties": False,
}
_UNCOMMITTED = "the uncommitted changes of this repository (git status, git diff HEAD, untracked files)"
_SINCE = """\
what has changed in this repository since commit {base}, committed or not (git log {base}..HEAD, git diff {base},
untracked files)"""
_PROMPT = """\
Review {changes}, made by another coding agent that says it is done. Change nothing. Report only what is certainly wrong
and has to be mended before this is called done: bugs, broken builds or tests, lost data, security holes. No style, no
taste, no praise. Answer with the verdict "pass" and no findings where there is nothing of that kind; else "findings",
each with its place (file:line) and the problem in one sentence."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that has to be mended."""

    place: str
    problem: str


class Verdict(msgspec.Struct, frozen=True):
    """What Codex answered."""

    verdict: str
    findings: list[Finding]


@dataclass(frozen=True)
class Passed:
    """Nothing to say; `note` tells which turn said so, or is empty where nothing was to be reviewed."""

    note: str = ""


@dataclass(frozen=True)
class Found:
    """Claude goes on with this."""

    text: str


@dataclass(frozen=True)
class CouldNotRun:
    """Claude stops as it would without a gate."""

    why: str


Outcome = Passed | Found | CouldNotRun


def gate_decision(session: Session, hook: HookInput, limit_s: float, began_s: float) -> dict[str, object] | None:
    """What the Stop hook answers; None where there is nothing to say. Never blocks where the gate could not run."""
    try:
        settings = load_gate(session.paths)
        if settings is None:
            return None
        outcome = _review(session, hook, settings, limit_s - (time.monotonic() - began_s))
    except CodexError as error:
        outcome = CouldNotRun(f"{error.what}: {error.why}" if error.why else error.what)
    except Exception as error:  # a gate that cannot run never blocks
        outcome = CouldNotRun(repr(error))
    match outcome:
        case Passed(""):
            return None
        case Passed(note):
            return {"systemMessage": f"Codex's review gate: pass · {note}"}
        case Found(text):
            return {"decision": "block", "reason": text}
        case CouldNotRun(why):
            return {"systemMessage": f"Codex's review gate: could not run: {why}"}


def _review(session: Session, hook: HookInput, settings: GateSettings, limit_s: float) -> Outcome:
    claude = os.getppid()
    base = started_at(session.paths, hook.session_id, Path.cwd())
    changes = fingerprint_of_changes(Path.cwd(), base)
    if not changes:
        return Passed()

    from codex_control.v1.outcome_pb2 import OUTCOME_COMPLETED, OUTCOME_UNSPECIFIED

    from codexctl.claude.lease import bound_instance

    named = bound_instance(session, hook.session_id)
    client = session.client(start=True)
    prefix = f"gate:{hook.session_id[:40]}:"
    rounds = _earlier_rounds(client, named, prefix)
    same = next((turn for turn in rounds if turn.request_id.startswith(prefix + changes)), None)
    if same is not None and was_told(session.paths, same.id):
        return Passed()
    if same is not None and same.outcome in (OUTCOME_UNSPECIFIED, OUTCOME_COMPLETED):
        request_id = same.request_id  # nobody was there for its verdict, or it is still at work: attach to it
    elif len(rounds) >= settings.rounds:
        return CouldNotRun(f"all {settings.rounds} rounds of this session are used")
    elif (used := sum(turn.usage.input + turn.usage.output for turn in rounds)) >= settings.tokens:
        return CouldNotRun(f"its {settings.tokens:,} tokens of this session are used ({used:,})")
    else:
        request_id = f"{prefix}{changes}:{len(rounds)}"
    prompt = _PROMPT.format(changes=_SINCE.format(base=base) if base else _UNCOMMITTED)
    turn = _ask(session, client, named, request_id, prompt, limit_s)
    # A Claude Code that was killed leaves us to others: then nobody is told, and the session that is resumed will be.
    if turn.outcome == OUTCOME_COMPLETED and os.getppid() == claude:
        # Before it is told: where this fails the gate could not run, and cannot hold Claude up with the same again.
        note_told(session.paths, turn.id)
    return outcome_of(turn)


def _earlier_rounds(client: Client, named: Named, prefix: str) -> list[Turn]:
    from codex_control.v1.turns_pb2 import ListTurnsRequest, ListTurnsResponse

    try:
        request = ListTurnsRequest(instance=named.ref(), page_size=_PAGE)
        turns = client.call("Turns.List", request, ListTurnsResponse).turns
    except NotFound:
        return []
    return [turn for turn in turns if turn.request_id.startswith(prefix)]


def _ask(session: Session, client: Client, named: Named, request_id: str, prompt: str, limit_s: float) -> Turn:
    import json

    from codex_control.v1.turns_pb2 import AskRequest, InterruptRequest, InterruptResponse

    from codexctl.claude.answer_text import Notices
    from codexctl.claude.waiting import Esc, wait_for_turn
    from codexctl.feed import TurnFeed
    from codexctl.turn_directory import fallback_directory

    request = AskRequest(
        instance=named.ref(),
        request_id=request_id,
        prompt=prompt,
        fallback_cwd=fallback_directory(named),
        output_schema=json.dumps(_SCHEMA),
    )
    feed = TurnFeed(lambda start: session.client(start=start), ask=request)
    with Esc(request_id):
        turn = wait_for_turn(feed, Notices(), limit_s)
    if turn is None:
        # Nobody will look at its verdict any more.
        stopping = InterruptRequest(turn_id=feed.attach_id)
        client.call("Turns.Interrupt", stopping, InterruptResponse)
        raise TimedOut(f"Codex took longer than {limit_s:.0f} s")
    return turn


def outcome_of(turn: Turn) -> Outcome:
    """Read the verdict of the ended turn; what is none could not run."""
    from codex_control.safe_text import one_line
    from codex_control.v1.outcome_pb2 import OUTCOME_COMPLETED

    from codexctl.view.lines import ended_line

    source = f"instance {turn.instance} · turn {turn.id}"
    if turn.outcome != OUTCOME_COMPLETED:
        return CouldNotRun(f"{ended_line(turn)} ({source})")
    try:
        said = msgspec.json.decode(turn.answer, type=Verdict)
    except msgspec.MsgspecError:
        return CouldNotRun(f"Codex gave no verdict ({source})")
    match said:
        case Verdict("pass", []):
            return Passed(source)
        case Verdict("findings", [_, *_]):
            lines = [
                f"- {one_line(one.place)}: {one_line(one.problem, 1000)}" for one in said.findings[:_MOST_FINDINGS]
            ]
            head = f"Codex reviewed the changes ({source}) and found:"
            return Found(
                "\n".join([head, *lines, "Check each one; mend what is right, and say which ones are not and why."])
            )
        case _:
            return CouldNotRun(f"Codex's verdict contradicts itself ({source})")
