"""What must hold after the chaos. Every sentence that `violations` returns is a broken promise."""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from codex_control.v1 import turns_pb2

from tests.faults.chaos.clients import Asked, Followed, Manner
from tests.faults.chaos.world import INSTANCES, Evidence


@dataclass
class Recorded:
    """One turn as the store has it."""

    id: str
    request_id: str
    instance: str
    thread_id: str
    outcome: str | None
    cause: str | None
    error: str
    answer: str
    recoveries: int
    total_s: float | None
    first_event_s: float | None
    events: list[turns_pb2.TurnEvent] = field(default_factory=list)

    def __str__(self) -> str:
        return f"turn {self.id} of {self.instance} ({self.outcome}, {self.recoveries} recoveries)"


@dataclass
class Kept:
    """One turn as Codex's own files have it."""

    inputs: int = 0
    completed: list[str] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)


def recorded_turns(database: Path) -> dict[str, Recorded]:
    """All turns of the store with their events, by request id."""
    columns = "id, request_id, instance, thread_id, outcome, cause, error, answer, recoveries, total_s, first_event_s"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        turns = {row[0]: Recorded(*row[1:]) for row in db.execute(f"SELECT number, {columns} FROM turns")}
        for number, payload in db.execute("SELECT turn, payload FROM events ORDER BY turn, seq"):
            turns[number].events.append(turns_pb2.TurnEvent.FromString(payload))
    return {turn.request_id: turn for turn in turns.values()}


def kept_turns(sessions: Path) -> dict[str, Kept]:
    """All turns of Codex's rollout files, by our turn id. A turn without input belongs to the one before it."""
    kept: defaultdict[str, Kept] = defaultdict(Kept)
    for path in sorted(sessions.rglob("*.jsonl")):
        ours: dict[str, str] = {}
        current = ""
        for payload in _rollout_events(path):
            match payload.get("type"):
                case "task_started":
                    ours[payload["turn_id"]] = current
                case "item_completed" if payload["item"]["type"] == "UserMessage":
                    current = payload["item"].get("client_id") or ""
                    ours[payload["turn_id"]] = current
                    kept[current].inputs += 1
                    kept[current].threads.add(payload["thread_id"])
                case "task_complete":
                    kept[ours[payload["turn_id"]]].completed.append(payload["last_agent_message"] or "")
                case _:
                    pass
    return dict(kept)


def _rollout_events(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines():
        try:
            record = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue  # torn by a kill in the middle of the writing
        if record["type"] == "event_msg":
            yield record["payload"]


def violations(evidence: Evidence) -> list[str]:
    """Judge a run."""
    recorded = recorded_turns(evidence.state_dir / "supervisor.db")
    kept = kept_turns(evidence.home.codex_home / "sessions")
    found = list(evidence.broken)
    for asked in evidence.asked:
        found += [f"{_of(asked)}: {what}" for what in _judge_ask(asked, recorded)]
    by_id = {asked.request_id: asked for asked in evidence.asked}
    for turn in recorded.values():
        found += [f"{turn}: {what}" for what in _judge_turn(turn, by_id.get(turn.request_id), kept)]
    found += _judge_threads(recorded)
    found += _judge_processes(evidence)
    return found


def _of(asked: Asked) -> str:
    return f"question {asked.question.number} ({asked.question.kind}, client {asked.manner.value}, {asked.instance})"


def _judge_ask(asked: Asked, recorded: dict[str, Recorded]) -> Iterator[str]:
    if asked.refused:
        yield f"it was refused: {asked.refused}"
        return
    if asked.failure:
        yield f"the client got no outcome: {asked.failure}"
    turn = recorded.get(asked.request_id)
    if turn is None:
        yield "it was accepted and is not in the store"
        return
    for feed in asked.feeds:
        yield from _judge_feed(feed, turn, whole=asked.manner is not Manner.DETACHES or feed is asked.feeds[-1])


def _judge_feed(feed: Followed, turn: Recorded, *, whole: bool) -> Iterator[str]:
    """What a client got is what is recorded: nothing twice, nothing missing, nothing else."""
    seen = [event.seq for event in feed.events]
    if any(later <= earlier for earlier, later in itertools.pairwise(seen)):
        yield f"the client got sequence numbers twice or out of order: {seen}"
    ends = [event.HasField("ended") for event in feed.events].count(True)
    if whole and ends != 1:
        yield f"the client saw {ends} outcomes"
    if {event.turn_id for event in feed.events} - {turn.id}:
        yield "the client got events of another turn"
    below = [event for event in turn.events if event.seq <= feed.last_seq]
    if [event.seq for event in below] != seen:
        missing = sorted({event.seq for event in below} - set(seen))
        unknown = sorted(set(seen) - {event.seq for event in below})
        yield f"the client missed events {missing} and got {unknown}, which are not in the journal"
    elif [_content(event) for event in below] != [_content(event) for event in feed.events]:
        yield "the client got other events than are in the journal"
    if ends and feed.events[-1].ended.turn.answer != turn.answer:
        yield "the client got another answer than is recorded"


def _content(event: turns_pb2.TurnEvent) -> bytes:
    """An event without what is filled in as it is sent."""
    plain = turns_pb2.TurnEvent()
    plain.CopyFrom(event)
    match plain.WhichOneof("event"):
        case "accepted":
            plain.accepted.attached = False
        case "ended":
            plain.ended.ClearField("turn")
        case _:
            pass
    return plain.SerializeToString(deterministic=True)


def _judge_turn(turn: Recorded, asked: Asked | None, kept: dict[str, Kept]) -> Iterator[str]:
    if asked is None:
        yield "nobody asked for it"
        return
    if turn.outcome is None:
        yield "it has no outcome"
    kinds = [event.WhichOneof("event") for event in turn.events]
    if kinds[:1] != ["accepted"] or kinds.count("accepted") != 1:
        yield f"its journal begins with {kinds[:3]}"
    if kinds.count("ended") != 1 or kinds[-1:] != ["ended"]:
        yield f"its journal has {kinds.count('ended')} ends, and the last event is {kinds[-1:]}"
    may_be_cancelled = asked.manner is Manner.INTERRUPTS
    if turn.outcome == "completed":
        if turn.answer != asked.question.answer:
            yield f"its answer is wrong: {turn.answer[:100]!r}"
        yield from _judge_text(turn)
    elif not (may_be_cancelled and turn.outcome == "cancelled"):
        yield f"it did not complete: {turn.cause}: {turn.error}"
    codex = kept.get(turn.id, Kept())
    if codex.inputs > 1:
        yield f"its prompt was given to Codex {codex.inputs} times, and stayed in the conversation"
    if len(codex.completed) > 1:
        yield f"Codex completed it {len(codex.completed)} times"
    if codex.completed and not may_be_cancelled and turn.answer != codex.completed[-1]:
        yield "Codex had completed it, and the answer is not in the record"
    if turn.outcome == "completed" and not codex.completed:
        yield "it is recorded as completed, and Codex never completed it"


def _judge_text(turn: Recorded) -> Iterator[str]:
    """A person who reads along ends up with every message once: whole, or declared void."""
    streamed = {event.text.item_id for event in turn.events if event.HasField("text")}
    whole = Counter(event.message.item_id for event in turn.events if event.HasField("message"))
    void = {item for event in turn.events for item in event.recovery.superseded_item_ids}
    void |= {item for event in turn.events for item in event.retry.superseded_item_ids}
    if twice := [item for item, count in whole.items() if count > 1]:
        yield f"messages {twice} were completed twice"
    if left := streamed - set(whole) - void:
        yield f"messages {sorted(left)} were streamed in part, and neither completed nor declared void"


def _judge_threads(recorded: dict[str, Recorded]) -> Iterator[str]:
    threads: defaultdict[str, list[str]] = defaultdict(list)
    for turn in recorded.values():
        if turn.outcome == "completed" and turn.thread_id not in threads[turn.instance]:
            threads[turn.instance].append(turn.thread_id)
    for instance, ids in sorted(threads.items()):
        if len(ids) > 1:
            yield f"{instance} lost its conversation: it had the threads {ids}"


def _judge_processes(evidence: Evidence) -> Iterator[str]:
    if evidence.most_children > INSTANCES:
        yield f"{evidence.most_children} children lived at once, for {INSTANCES} instances"
    for pid, line in evidence.orphans.items():
        yield f"process {pid} was left behind: {line[:200]}"
    for kind, count in (evidence.files_of_the_last - evidence.files_of_a_fresh_one).items():
        yield f"the last supervisor held {count} open files more than a fresh one: {kind}"
    # A SIGTERM that comes before the first line of the program has run ends it like any other.
    if unexpected := [code for code in evidence.supervisor_exits if code not in (0, -9, -15)]:
        yield f"supervisors ended by themselves, with {unexpected}"
    # gRPC itself logs a call whose client left in the middle of its last message.
    log = "\n".join(
        line for line in evidence.log.read_text(errors="replace").splitlines() if "ExecuteBatchError" not in line
    )
    for mark in ("task_failed", "turn_failed_inside", "call_failed", "Traceback"):
        if mark in log:
            yield f"a supervisor logged {mark}: {_line_with(log, mark)}"


def _line_with(log: str, mark: str) -> str:
    return next(line for line in log.splitlines() if mark in line)[:1500]
