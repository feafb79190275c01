"""Fetches keys from where the configuration says they are kept: the one part of `config` that looks outside the file.

Keys are never logged; an error names where a key was looked for, never the key.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from codex_control.errors import BadConfig, TimedOut
from codex_control.paths import read_private_file

from codex_gateway.config.endpoint import KeySource

COMMAND_TIMEOUT_S = 30.0
"""Password managers may ask for a fingerprint."""
MAX_KEY_BYTES = 64 * 1024


async def fetch_key(source: KeySource, environ: Mapping[str, str] = os.environ) -> str:
    """Return the key that `source` names; empty where it names none.

    Raises `BadConfig` where it is not there, is empty or can be no header's value, `UnsafePath` for a file that others
    may read, `TimedOut` for a command that does not end.
    """
    if source.api_key or source.bearer:
        key = source.api_key or source.bearer
    elif source.env:
        key = environ.get(source.env, "")
    elif source.file:
        key = await asyncio.to_thread(_read_key_file, source.file)
    elif source.command:
        key = await _run(source.command)
    else:
        return ""
    key = key.strip()
    if not key:
        raise BadConfig(
            what=f"no key came from {source.source()}",
            why="the variable is not set, or empty" if source.env else "it is empty",
            next_step="put the key there, or name another place in config.yaml",
        )
    if not key.isascii() or not key.isprintable():
        raise BadConfig(
            what=f"the key from {source.source()} cannot be sent",
            why="it holds a line break or a sign that is not ASCII",
            next_step="put the key there alone, on one line",
        )
    return key


def _read_key_file(written: str) -> str:
    path = Path(written).expanduser()
    try:
        return read_private_file(path, f"the key file {path}", MAX_KEY_BYTES)
    except OSError as error:
        raise BadConfig(
            what=f"the key file {path} cannot be read",
            why=error.strerror or str(error),
            next_step="put the key there, or name another file in config.yaml",
        ) from error


async def _run(command: tuple[str, ...]) -> str:
    program = str(Path(command[0]).expanduser())  # noqa: ASYNC240 (it looks at HOME alone)
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *command[1:],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise BadConfig(
            what=f"the key command {command[0]} cannot be started",
            why=error.strerror or str(error),
            next_step="give its full path in config.yaml",
        ) from error
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            assert process.stdout is not None  # noqa: S101 (it is a pipe)
            out = await process.stdout.read(MAX_KEY_BYTES)
            code = await process.wait()
    except TimeoutError as error:
        raise TimedOut(
            what=f"the key command {command[0]} did not end within {COMMAND_TIMEOUT_S:.0f} s",
            next_step="run it by hand to see what it waits for",
        ) from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            await process.wait()
    if code:
        raise BadConfig(
            what=f"the key command {command[0]} failed",
            why=f"it ended with {code}",
            next_step="run it by hand to see why",
        )
    return out.decode(errors="replace")
