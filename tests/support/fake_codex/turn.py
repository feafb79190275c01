"""One turn of the stand-in: the events in Codex's order, and the faults between them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Callable
from typing import Any, Protocol

from tests.support.fake_codex.knobs import Knobs, Stage
from tests.support.fake_codex.threads import Json, Thread, Turn

FLOOD_PIECE = "f" * 65_536


class Outside(Protocol):
    """What a turn needs of the server."""

    knobs: Knobs
    memory: bytearray
    """What was filled; it stays when the turn ends."""

    def notify(self, thread_id: str | None, method: str, params: Json) -> None:
        """Send a notification to whoever follows the thread."""

    def send_raw(self, thread_id: str, data: bytes) -> None:
        """Send a text frame as it is."""

    async def ask(self, thread_id: str, method: str, params: Json) -> Any:
        """Send a request and wait for the reply; None where it was an error."""

    async def drain(self) -> None:
        """Wait until everything is with the kernel."""


class Running:
    """A turn that runs. `run` ends with the turn; it is cancelled by an interrupt."""

    def __init__(self, outside: Outside, thread: Thread, request: Json) -> None:
        self._outside = outside
        self._knobs = outside.knobs
        self._thread = thread
        self._request = request
        self._turn: Turn | None = None
        self.id = str(uuid.uuid4())

    async def run(self, reply: Callable[[Json], None]) -> None:
        """Run the turn. `reply` answers `turn/start`."""
        await self._reach(Stage.ACCEPTED)
        self._turn = self._thread.begin(self.id)
        reply({"turn": self._turn.to_json("notLoaded") | {"startedAt": None}})
        try:
            await self._reach(Stage.REPLIED)
            await self._go()
        except asyncio.CancelledError:
            self._end("interrupted")
            raise

    def steer(self, params: Json) -> None:
        """Take more input."""
        self._say(params)

    async def _go(self) -> None:
        knobs = self._knobs
        self._status("active")
        assert self._turn is not None
        self._notify("turn/started", turn=self._turn.to_json("notLoaded"))
        await self._reach(Stage.STARTED)
        if self._request["input"]:
            self._say(self._request)
        await self._reach(Stage.USER_MESSAGE)
        self._misbehave()
        if knobs.turn_error:
            self._fail(knobs.turn_error)
            return
        if knobs.reasoning:
            self._reason(knobs.reasoning)
        if knobs.plan:
            plan = [{"step": step, "status": "pending"} for step in knobs.plan]
            self._notify("turn/plan/updated", turnId=self.id, explanation=None, plan=plan)
        if not await self._approvals_and_commands():
            self._end("interrupted")
            return
        await self._answer()
        tokens = {"totalTokens": 3, "inputTokens": 2, "cachedInputTokens": 0, "outputTokens": 1}
        tokens["reasoningOutputTokens"] = 0
        usage = {"total": tokens, "last": tokens, "modelContextWindow": 1000}
        self._notify("thread/tokenUsage/updated", turnId=self.id, tokenUsage=usage)
        await self._reach(Stage.ANSWER)
        self._end("completed")
        await self._reach(Stage.COMPLETED)

    def _say(self, params: Json) -> None:
        content = [piece | {"text_elements": []} if piece["type"] == "text" else piece for piece in params["input"]]
        client_id = params.get("clientUserMessageId")
        self._item({"type": "userMessage", "id": str(uuid.uuid4()), "clientId": client_id, "content": content})

    def _reason(self, summary: str) -> None:
        item = {"type": "reasoning", "id": self._new_id("rs"), "summary": [], "content": []}
        place = {"turnId": self.id, "itemId": item["id"], "summaryIndex": 0}
        self._start(item)
        self._notify("item/reasoning/summaryPartAdded", **place)
        self._notify("item/reasoning/summaryTextDelta", **place, delta=summary)
        self._complete(item | {"summary": [summary]})

    async def _approvals_and_commands(self) -> bool:
        """False where the reply was `cancel`, which interrupts the turn."""
        knobs = self._knobs
        place: Json = {"threadId": self._thread.id, "turnId": self.id, "startedAtMs": _now_ms()}
        if knobs.approval == "question":
            option = {"label": "Yes", "description": "Yes"}
            question: Json = {"id": "q", "header": "Fake", "question": "Go on?", "options": [option]}
            question |= {"isOther": True, "isSecret": False}
            del place["startedAtMs"]
            place |= {"itemId": self._new_id("q"), "questions": [question], "isBlocking": True}
            await self._ask("waitingOnUserInput", "item/tool/requestUserInput", place)
        if knobs.approval == "file":
            change = {"path": f"{self._thread.settings['cwd']}/made.txt", "kind": {"type": "add"}, "diff": "made\n"}
            edit: Json = {"type": "fileChange", "id": self._new_id("fc"), "changes": [change], "status": "inProgress"}
            self._start(edit)
            place |= {"itemId": edit["id"], "reason": None, "grantRoot": None}
            decision = await self._ask("waitingOnApproval", "item/fileChange/requestApproval", place)
            self._complete(edit | {"status": "completed" if decision in ("accept", "acceptForSession") else "declined"})
            return decision != "cancel"
        command = knobs.command or ("true" if knobs.approval == "command" else "")
        if not command:
            return True
        item: Json = {
            "type": "commandExecution",
            "id": self._new_id("call"),
            "command": command,
            "cwd": self._thread.settings["cwd"],
            "status": "inProgress",
            "commandActions": [{"type": "unknown", "command": command}],
            "aggregatedOutput": None,
            "exitCode": None,
            "durationMs": None,
        }
        self._start(item)
        if knobs.approval == "command":
            place |= {"itemId": item["id"], "command": command, "cwd": item["cwd"], "reason": "because"}
            decision = await self._ask("waitingOnApproval", "item/commandExecution/requestApproval", place)
            if decision not in ("accept", "acceptForSession"):
                self._complete(item | {"status": "declined"})
                return decision != "cancel"
        await self._reach(Stage.COMMAND)
        output = knobs.command_output
        self._notify("item/commandExecution/outputDelta", turnId=self.id, itemId=item["id"], delta=output)
        self._complete(item | {"status": "completed", "aggregatedOutput": output, "exitCode": 0, "durationMs": 1})
        return True

    async def _ask(self, flag: str, method: str, params: Json) -> str:
        self._status("active", flag)
        asking = asyncio.get_running_loop().create_task(self._outside.ask(self._thread.id, method, params))
        try:
            await asyncio.sleep(0)  # lets it send the request
            await self._reach(Stage.APPROVAL)
            reply = await asking
        finally:
            asking.cancel()
        self._status("active")
        return str(reply.get("decision")) if isinstance(reply, dict) else "decline"

    async def _answer(self) -> None:
        knobs = self._knobs
        text = knobs.answer if knobs.answer is not None else f"fake: {self._thread.last_user_text()}"
        pieces = _pieces(text, knobs.deltas)
        if knobs.answer_bytes:
            text = "x" * knobs.answer_bytes
            pieces = [text]
        item = {"type": "agentMessage", "id": self._new_id("msg"), "text": "", "phase": None}
        self._start(item)
        for number, piece in enumerate(pieces):
            self._notify("item/agentMessage/delta", turnId=self.id, itemId=item["id"], delta=piece)
            if number == 0:
                await self._reach(Stage.DELTA)
        self._complete(item | {"text": text, "phase": "final_answer"})

    def _misbehave(self) -> None:
        knobs, thread_id = self._knobs, self._thread.id
        if knobs.memory_bytes:
            # Ones, not zeros: pages of zeros would cost nothing.
            self._outside.memory = bytearray(b"\x01") * knobs.memory_bytes
        for frame in knobs.frames:
            self._outside.send_raw(thread_id, frame.encode())
        if knobs.invalid_utf8:
            self._outside.send_raw(thread_id, b'{"method":"warning","params":{"message":"\xff\xfe"}}')
        if knobs.unknown_events:
            self._notify("future/event", turnId=self.id, anything=[1, {"deep": None}])
            self._item({"type": "futureItem", "id": self._new_id("new"), "sparkle": True})
            self._outside.send_raw(thread_id, b'{"method":"future/request","id":987654,"params":{"x":1}}')
        left = knobs.flood_bytes
        while left > 0:
            delta = FLOOD_PIECE[:left]
            left -= len(delta)
            self._notify("item/commandExecution/outputDelta", turnId=self.id, itemId="flood", delta=delta)

    def _fail(self, code: str) -> None:
        error = {"message": f"the stand-in fails with {code}", "codexErrorInfo": code, "additionalDetails": None}
        self._notify("error", turnId=self.id, error=error, willRetry=False)
        self._end("failed", error)

    def _item(self, item: Json) -> None:
        self._start(item)
        self._complete(item)

    def _start(self, item: Json) -> None:
        self._notify("item/started", turnId=self.id, item=item, startedAtMs=_now_ms())

    def _complete(self, item: Json) -> None:
        assert self._turn is not None
        self._thread.keep(self._turn, item)
        self._notify("item/completed", turnId=self.id, item=item, completedAtMs=_now_ms())

    def _end(self, status: str, error: Json | None = None) -> None:
        assert self._turn is not None
        if self._turn.status != "inProgress":
            return  # interrupted after its end
        self._thread.end(self._turn, status, error)
        self._status("systemError" if error else "idle")
        view = "summary" if status == "completed" else "notLoaded"
        self._notify("turn/completed", turn=self._turn.to_json(view))

    def _status(self, kind: str, *flags: str) -> None:
        status: Json = {"type": kind} | ({"activeFlags": list(flags)} if kind == "active" else {})
        self._notify("thread/status/changed", status=status)

    def _notify(self, method: str, **params: Any) -> None:
        self._outside.notify(self._thread.id, method, {"threadId": self._thread.id, **params})

    def _new_id(self, kind: str) -> str:
        return f"{kind}_{uuid.uuid4().hex[:12]}"

    async def _reach(self, stage: Stage) -> None:
        if self._knobs.die_at is stage:
            await self._outside.drain()
            os.kill(os.getpid(), signal.SIGKILL)
        if self._knobs.stall_at is stage:
            await asyncio.Event().wait()


def _pieces(text: str, count: int) -> list[str]:
    size = max(1, -(-len(text) // max(1, count)))
    return [text[start : start + size] for start in range(0, len(text), size)]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
