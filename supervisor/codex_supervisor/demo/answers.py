"""What the demo model says. Pure: a request in, the bytes of the answer and the pauses between them out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from codex_supervisor.demo.responses import ModelRequest, ResponseStream, shell_call

WORD_PAUSE_S = 0.02
SLOW_PAUSE_S = 0.5
SLOW_LINES = 60
QUOTED_CHARACTERS = 200

COMMAND = "echo 'Hello from a shell command that the demo model asked for.'"

_WHO = "I am the demo model of codex-supervisor: a small program, no AI. "
_TRY = (
    "\n\nThings to try, as words in your prompt:\n"
    "- `demo: slow` answers for half a minute; kill Codex or the supervisor meanwhile\n"
    "- `demo: command` runs a harmless shell command\n"
    "- `demo: plan` shows a plan\n\n"
    "For real answers log in with `{codex} login` and run `codexctl reload --exec`."
)
_PLAN = ("Read what was asked", "Do nothing about it", "Say so")

Pieces = Iterator[tuple[float, bytes]]
"""Pairs of a pause in seconds and the bytes to be sent after it."""


def demo_answer(request: ModelRequest, stream: ResponseStream, codex: str = "codex") -> Pieces:
    """The answer to one request. Every one says that it comes from no AI. `codex` is what a person calls Codex by."""
    yield 0.0, stream.created()
    asked = request.last_user_text.lower()
    done = len(request.tool_outputs)
    if "demo: command" in asked:
        yield from _command(request, stream)
    elif "demo: plan" in asked:
        yield from _plan(request, stream, done)
    elif "demo: slow" in asked:
        yield from _slow(stream)
    else:
        yield from _say(stream, _WHO + _quote(request) + _remember(request) + _TRY.replace("{codex}", codex))
    spoken = sum(len(item.text) for item in request.input)
    # Codex shows what a turn cost; a token is about four characters.
    yield 0.0, stream.completed(input_tokens=spoken // 4, output_tokens=stream.text_characters // 4)


def _command(request: ModelRequest, stream: ResponseStream) -> Pieces:
    if request.tool_outputs:
        output = request.tool_outputs[-1].strip()
        yield from _say(stream, f"{_WHO}The command ran, and Codex gave me this:\n\n```\n{output}\n```")
        return
    yield from _say(stream, f"{_WHO}I ask Codex to run a harmless command.")
    call = shell_call(request, stream, COMMAND)
    if call is None:
        yield from _say(stream, " But Codex offers me no shell.")
    else:
        yield 0.0, call


def _plan(request: ModelRequest, stream: ResponseStream, done: int) -> Pieces:
    if "update_plan" not in request.tool_names:
        yield from _say(stream, f"{_WHO}I would show a plan, but Codex offers me no tool for that.")
        return
    if done > len(_PLAN):
        yield from _say(stream, f"{_WHO}The plan is done: {', '.join(_PLAN).lower()}.")
        return
    statuses = ("completed" if at < done else "in_progress" if at == done else "pending" for at in range(len(_PLAN)))
    steps = [{"step": step, "status": status} for step, status in zip(_PLAN, statuses, strict=True)]
    if done == 0:
        yield from _say(stream, f"{_WHO}This is my plan.")
    yield (SLOW_PAUSE_S if done else 0.0), stream.function_call("update_plan", {"plan": steps})


def _slow(stream: ResponseStream) -> Pieces:
    yield 0.0, stream.text(f"{_WHO}I count slowly, so that you can kill something meanwhile.\n\n")
    for number in range(1, SLOW_LINES + 1):
        yield SLOW_PAUSE_S, stream.text(f"{number} of {SLOW_LINES}\n")
    yield 0.0, stream.text("\nThat was all of it: nothing was lost.")


def _say(stream: ResponseStream, text: str) -> Pieces:
    for word in re.findall(r"\s*\S+", text):
        yield WORD_PAUSE_S, stream.text(word)


def _quote(request: ModelRequest) -> str:
    return f"You asked: “{_short(request.last_user_text)}”."


def _remember(request: ModelRequest) -> str:
    """Show that the conversation is still there after a restart or a hibernation."""
    earlier = len(request.user_texts) - 1
    if earlier < 1:
        return ""
    times = "once" if earlier == 1 else f"{earlier} times"
    return f" Before that you wrote {times} in this thread, beginning with “{_short(request.user_texts[0])}”."


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= QUOTED_CHARACTERS else line[:QUOTED_CHARACTERS].rstrip() + "…"
