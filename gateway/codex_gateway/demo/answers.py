"""What the demo model says to a Chat Completions request. Pure: a request in, the deltas of the answer out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

WORD_PAUSE_S = 0.02
SLOW_PAUSE_S = 0.5
SLOW_LINES = 60
QUOTED_CHARACTERS = 200
COMMAND = "echo 'Hello from a shell command that the demo model asked for.'"

_WHO = "I am the demo model of codex-gateway: a small program, no AI. "
_TRY = (
    "\n\nThings to try, as words in your prompt:\n"
    "- `demo: slow` answers for half a minute\n"
    "- `demo: command` runs a harmless shell command\n\n"
    "For real answers add an endpoint to the gateway's config.yaml and start it without --demo."
)
# What shell tools take, by their names at Codex and at Claude Code.
_SHELLS: dict[str, dict[str, Any]] = {
    "exec_command": {"cmd": COMMAND},
    "shell_command": {"command": COMMAND},
    "shell": {"command": ["sh", "-c", COMMAND]},
    "Bash": {"command": COMMAND, "description": "Says hello"},
}

Deltas = Iterator[tuple[float, dict[str, Any]]]
"""Pairs of a pause in seconds and the `delta` that is sent after it."""


class Part(msgspec.Struct):
    """A part of a message's content."""

    type: str = "text"
    text: str = ""


class Message(msgspec.Struct):
    """A message, as far as the demo model reads it."""

    role: str = ""
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        """The last text in it: clients put their own notes before what the person said."""
        if isinstance(self.content, str):
            return self.content
        return next((part.text for part in reversed(self.content or []) if part.text), "")


class Function(msgspec.Struct):
    """A function on offer."""

    name: str = ""


class Tool(msgspec.Struct):
    """A tool on offer."""

    function: Function | None = None


class Request(msgspec.Struct):
    """A request, as far as the demo model reads it."""

    model: str = "demo"
    messages: list[Message] = []
    tools: list[Tool] = []
    stream: bool = False

    @property
    def asked(self) -> str:
        """What the person said last."""
        return next((one.text for one in reversed(self.messages) if one.role == "user"), "")

    @property
    def outputs(self) -> list[str]:
        """Outputs of tools since then."""
        found = []
        for one in reversed(self.messages):
            if one.role == "user":
                break
            if one.role == "tool":
                found.append(one.text)
        return found[::-1]


def demo_deltas(request: Request) -> Deltas:
    """The answer to one request."""
    asked = request.asked.lower()
    if "demo: command" in asked and request.outputs:
        yield from _say(f"{_WHO}The command ran, and I was given this:\n\n```\n{request.outputs[-1].strip()}\n```")
    elif "demo: command" in asked:
        yield from _command(request)
    elif "demo: slow" in asked:
        yield from _say(f"{_WHO}I count slowly.\n\n")
        for number in range(1, SLOW_LINES + 1):
            yield SLOW_PAUSE_S, {"content": f"{number} of {SLOW_LINES}\n"}
    else:
        yield from _say(f"{_WHO}You asked: “{_short(request.asked)}”.{_TRY}")


def _command(request: Request) -> Deltas:
    name = next((one.function.name for one in request.tools if one.function and one.function.name in _SHELLS), None)
    if name is None:
        yield from _say(f"{_WHO}I would run a harmless command, but I am offered no shell.")
        return
    yield from _say(f"{_WHO}I ask for a harmless command.")
    arguments = msgspec.json.encode(_SHELLS[name]).decode()
    call = {"index": 0, "id": "call_demo", "type": "function", "function": {"name": name, "arguments": arguments}}
    yield 0.0, {"tool_calls": [call]}


def _say(text: str) -> Deltas:
    for word in re.findall(r"\s*\S+\s*$|\s*\S+", text):
        yield WORD_PAUSE_S, {"content": word}


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= QUOTED_CHARACTERS else line[:QUOTED_CHARACTERS].rstrip() + "…"
