"""How the stub model performs one answer: the steps of its script, one after the other."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from codex_supervisor.demo.responses import SSE_CONTENT_TYPE, ModelRequest, ResponseStream, shell_call

from tests.support.model_script import (
    Bulk,
    Call,
    Command,
    Cut,
    Delay,
    EndText,
    Fail,
    Gate,
    Incomplete,
    Open,
    Patch,
    Plan,
    Question,
    Raw,
    Reasoning,
    Stall,
    Status,
    Step,
    Text,
    Usage,
)

FLUSH_BYTES = 64 * 1024


class Answer:
    """Performs the steps of one answer. Bytes are gathered and sent before anything that waits."""

    def __init__(
        self, http: web.Request, number: int, request: ModelRequest, hold: Callable[[str], Awaitable[None]]
    ) -> None:
        self._http = http
        self._request = request
        self._hold = hold
        self._stream = ResponseStream(f"resp_{number}", request.model)
        self._usage = Usage(input_tokens=(http.content_length or 0) // 4, output_tokens=1)
        self._response: web.StreamResponse | None = None
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    async def perform(self, steps: tuple[Step, ...]) -> web.StreamResponse:
        for step in steps:
            ending = await self._perform_step(step)
            if ending is not None:
                return ending
        self._send(
            self._stream.completed(
                input_tokens=self._usage.input_tokens,
                cached_tokens=self._usage.cached_tokens,
                output_tokens=self._usage.output_tokens,
                reasoning_tokens=self._usage.reasoning_tokens,
            )
        )
        return await self._end()

    async def _perform_step(self, step: Step) -> web.StreamResponse | None:
        """Perform one step; returns the response where it was the last one."""
        stream = self._stream
        match step:
            case Open():
                self._send(b"")
                await self._flush()
            case Text(text, deltas, delay_s):
                for piece in _pieces(text, deltas):
                    if delay_s:
                        await self._flush()
                        await asyncio.sleep(delay_s)
                    self._send(stream.text(piece))
            case EndText(phase):
                self._send(stream.end_text(phase))
            case Bulk(size_bytes, deltas):
                whole, rest = divmod(size_bytes, deltas)
                for number in range(deltas):
                    self._send(stream.text("x" * (whole + (number < rest))))
                    if self._pending_bytes > FLUSH_BYTES:
                        await self._flush()
            case Reasoning(summaries):
                self._send(stream.reasoning(summaries))
            case Command(command, arguments):
                call = shell_call(self._request, stream, command, **arguments)
                assert call is not None, f"Codex offers no shell tool, only {sorted(self._request.tool_names)}"
                self._send(call)
            case Patch(text):
                assert "apply_patch" in self._request.tool_names, (
                    "Codex offers no apply_patch: check the model catalogue"
                )
                self._send(stream.custom_call("apply_patch", text))
            case Plan(planned, explanation):
                steps = [{"step": name, "status": status} for name, status in planned]
                self._send(stream.function_call("update_plan", {"plan": steps, "explanation": explanation}))
            case Question():
                self._send(stream.function_call("request_user_input", _question(step)))
            case Call(name, arguments, namespace):
                self._send(stream.function_call(name, arguments, namespace))
            case Usage():
                self._usage = step
            case Delay(seconds):
                await self._flush()
                await asyncio.sleep(seconds)
            case Gate(name):
                await self._flush()
                await self._hold(name)
            case Stall():
                await self._flush()
                await asyncio.Event().wait()
            case Cut(reset):
                await self._flush()
                return self._cut(reset)
            case Status():
                return _error_response(step)
            case Fail(code, message):
                self._send(stream.failed(code, message))
                return await self._end()
            case Incomplete(reason):
                self._send(stream.incomplete(reason))
                return await self._end()
            case Raw(text):
                self._send(text.encode())
        return None

    def _send(self, data: bytes) -> None:
        if self._response is None:
            self._response = web.StreamResponse(headers={"Content-Type": SSE_CONTENT_TYPE, "Cache-Control": "no-store"})
            data = self._stream.created() + data
        self._pending.append(data)
        self._pending_bytes += len(data)

    async def _flush(self) -> None:
        if self._response is None:
            return
        if not self._response.prepared:
            await self._response.prepare(self._http)
        data, self._pending, self._pending_bytes = b"".join(self._pending), [], 0
        if data:
            await self._response.write(data)

    async def _end(self) -> web.StreamResponse:
        await self._flush()
        assert self._response is not None
        await self._response.write_eof()
        return self._response

    def _cut(self, reset: bool) -> web.StreamResponse:
        transport = self._http.transport
        if transport is not None and reset:
            transport.abort()
        elif transport is not None:
            transport.close()
        return self._response or web.Response()


def _pieces(text: str, count: int) -> list[str]:
    """Cut `text` into at most `count` pieces, behind blanks where there are enough of them."""
    words = re.findall(r"\S+\s*|\s+", text)
    units: list[str] = words if len(words) >= count else list(text)
    count = max(1, min(count, len(units)))
    whole, rest = divmod(len(units), count)
    pieces, start = [], 0
    for number in range(count):
        end = start + whole + (number < rest)
        pieces.append("".join(units[start:end]))
        start = end
    return pieces


def _question(step: Question) -> dict[str, Any]:
    options = [{"label": option, "description": option} for option in step.options]
    return {"questions": [{"id": step.id, "header": "Stub", "question": step.question, "options": options}]}


def _error_response(step: Status) -> web.Response:
    headers = {} if step.retry_after_s is None else {"Retry-After": f"{step.retry_after_s:g}"}
    if step.body is not None:
        return web.Response(status=step.status, text=step.body, headers=headers)
    error = {"type": step.code or "error", "code": step.code or None, "message": step.message, **step.extra}
    return web.json_response({"error": error}, status=step.status, headers=headers)
