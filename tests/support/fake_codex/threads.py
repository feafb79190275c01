"""Threads of the stand-in, kept as files of one JSON record a line, so that they outlive a SIGKILL.

What is there after a death follows the real Codex: a thread exists from its first turn on, a turn without an end is
`interrupted`, text that was streamed but not completed is lost. One process at a time may write a thread.
"""

from __future__ import annotations

import fcntl
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec

Json = dict[str, Any]

DIRECTORY = "fake-threads"


class ThreadError(Exception):
    """A request about a thread is wrong; the text is the error message of the answer."""


@dataclass
class Turn:
    """A turn as it is kept."""

    id: str
    started_at: int
    items: list[Json] = field(default_factory=list)
    status: str = "inProgress"
    error: Json | None = None
    completed_at: int | None = None

    def to_json(self, view: str) -> Json:
        """The protocol's Turn; `view` is `notLoaded`, `summary` (the last answer) or `full`."""
        answers = [item for item in self.items if item["type"] == "agentMessage"]
        items = {"notLoaded": [], "summary": answers[-1:], "full": self.items}[view]
        ended = self.completed_at is not None
        return {
            "id": self.id,
            "rootTurnId": self.id,
            "items": items,
            "itemsView": view,
            "status": self.status,
            "error": self.error,
            "startedAt": self.started_at,
            "completedAt": self.completed_at,
            "durationMs": 1 if ended else None,
        }


class Thread:
    """One loaded thread. The writer's lock is held until `close`, or until the process ends."""

    def __init__(self, directory: Path, thread_id: str, settings: Json) -> None:
        self.id = thread_id
        self.settings = settings
        self.turns: list[Turn] = []
        self.created_at = int(time.time())
        self.path = directory / f"{thread_id}.jsonl"
        self._file: IO[bytes] | None = None

    @property
    def active(self) -> Turn | None:
        """The turn that runs."""
        return self.turns[-1] if self.turns and self.turns[-1].status == "inProgress" else None

    def begin(self, turn_id: str) -> Turn:
        """Keep the beginning of a turn."""
        turn = Turn(turn_id, int(time.time()))
        self.turns.append(turn)
        self._write({"kind": "turn", "id": turn_id, "at": turn.started_at, "settings": self.settings})
        return turn

    def keep(self, turn: Turn, item: Json) -> None:
        """Keep a completed item."""
        turn.items.append(item)
        self._write({"kind": "item", "turn": turn.id, "item": item})

    def end(self, turn: Turn, status: str, error: Json | None = None) -> None:
        """Keep the end of a turn."""
        turn.status, turn.error, turn.completed_at = status, error, int(time.time())
        self._write({"kind": "end", "turn": turn.id, "status": status, "error": error})

    def revert(self, before_turn_id: str) -> None:
        """Forget this turn and all later ones."""
        ids = [turn.id for turn in self.turns]
        if before_turn_id not in ids:
            raise ThreadError(f"turn {before_turn_id} not found")
        del self.turns[ids.index(before_turn_id) :]
        self._write({"kind": "revert", "turn": before_turn_id})

    def last_user_text(self) -> str:
        """What was asked last, in whichever turn."""
        asked = (
            item for turn in reversed(self.turns) for item in reversed(turn.items) if item["type"] == "userMessage"
        )
        found = next(asked, None)
        return "" if found is None else "".join(piece.get("text", "") for piece in found["content"])

    def to_json(self, *, full: bool) -> Json:
        """The protocol's Thread."""
        active = self.active is not None
        return {
            "id": self.id,
            "sessionId": self.id,
            "preview": self.last_user_text()[:100],
            "ephemeral": False,
            "historyMode": "paginated",
            "projectId": None,
            "modelProvider": "fake",
            "model": self.settings["model"],
            "createdAt": self.created_at,
            "updatedAt": self.created_at,
            "status": {"type": "active", "activeFlags": []} if active else {"type": "idle"},
            "path": str(self.path),
            "cwd": self.settings["cwd"],
            "cliVersion": "0.0.0",
            "source": "vscode",
            "turns": [turn.to_json("full") for turn in self.turns] if full else [],
        }

    def lock(self) -> None:
        """Become the one writer. Raises `ThreadError` where another process is it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise ThreadError(f"thread {self.id} already has an active writer") from None

    def close(self) -> None:
        """Let another process write it."""
        if self._file is not None:
            self._file.close()

    def _write(self, record: Json) -> None:
        if self._file is None:
            self.lock()
        assert self._file is not None
        self._file.write(msgspec.json.encode(record) + b"\n")
        # To the kernel, which keeps it when we are killed.
        self._file.flush()


def load(directory: Path, thread_id: str) -> Thread:
    """Read a kept thread and lock it. Raises `ThreadError` where it was never kept, or another process writes it."""
    try:
        uuid.UUID(thread_id)
    except ValueError:
        raise ThreadError(f"invalid session id: {thread_id}") from None
    thread = Thread(directory, thread_id, {})
    if not thread.path.is_file() or thread.path.stat().st_size == 0:
        raise ThreadError(f"no rollout found for thread id {thread_id}")
    thread.lock()
    for line in thread.path.read_bytes().splitlines():
        _replay(thread, msgspec.json.decode(line))
    for turn in thread.turns:
        if turn.status == "inProgress":
            turn.status = "interrupted"
    return thread


def _replay(thread: Thread, record: Json) -> None:
    turns = {turn.id: turn for turn in thread.turns}
    match record["kind"]:
        case "turn":
            thread.settings = record["settings"]
            thread.turns.append(Turn(record["id"], record["at"]))
        case "item":
            turns[record["turn"]].items.append(record["item"])
        case "end":
            turn = turns[record["turn"]]
            turn.status, turn.error, turn.completed_at = record["status"], record["error"], turn.started_at
        case "revert":
            del thread.turns[list(turns).index(record["turn"]) :]
        case unknown:
            raise ValueError(f"a record of kind {unknown}")
