"""What Claude Code tells a hook: one JSON object on standard input."""

from __future__ import annotations

from typing import BinaryIO

import msgspec
from codex_control.errors import BadInput

MAX_BYTES = 8 * 1024 * 1024
"""A prompt may have 4 MiB (see `prompt_input`), and JSON escapes take room; the last message of a Stop is shorter."""


class HookInput(msgspec.Struct, frozen=True):
    """What we read, of all events; empty where an event has none. Seen in Claude Code 2.1.197 to 2.1.329."""

    session_id: str
    cwd: str = ""
    command_name: str = ""
    """`codex:ask` for `/codex:ask` and for `/codex-ask`."""
    command_args: str = ""
    """The text after the command as it was typed, newlines included."""
    source: str = ""
    """Of SessionStart: startup, resume, clear or compact."""
    reason: str = ""
    """Of SessionEnd: clear, prompt_input_exit or other."""


def read_hook_input(stream: BinaryIO) -> HookInput:
    """Read it; raises `BadInput` for what is no such object or too long."""
    data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise BadInput("the hook's input is too long", why=f"it has more than {MAX_BYTES} bytes")
    try:
        return msgspec.json.decode(data, type=HookInput)
    except msgspec.MsgspecError as error:
        raise BadInput(
            "the hook's input is not what Claude Code sends",
            why=str(error),
            next_step="this command is for the plugin; people use `codexctl ask`",
        ) from error
