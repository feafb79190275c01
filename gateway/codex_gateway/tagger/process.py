"""Owns the process that answers slow conditions: starts it when it is first wanted, kills it when it takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Iterable

import msgspec
from codex_control.own_python import own_python, own_python_environment

from codex_gateway.config.endpoint import TAG_PATTERN
from codex_gateway.config.model import TaggingConfig
from codex_gateway.route.tagging import Asked, Slow
from codex_gateway.tagger.worker import HEAD

START_TIMEOUT_S = 10.0
"""Until a new process answers its first question; imports of a user's module may take long."""
MAX_ANSWER_BYTES = 64 * 1024

_TAG = re.compile(TAG_PATTERN)


class Tagger:
    """The process. One question at a time: a regular expression that is worth waiting for is short."""

    def __init__(self, settings: TaggingConfig) -> None:
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._warm: set[str] = set()
        """Functions whose modules are imported."""

    def __repr__(self) -> str:
        return f"Tagger(pid={self._process.pid if self._process else None})"

    async def tags(self, slow: Iterable[Slow], asked: Asked) -> tuple[frozenset[str], tuple[str, ...]]:
        """Answer slow conditions: tags, and what went wrong, for the log. A rule that went wrong gives no tag."""
        tags: set[str] = set()
        notes: list[str] = []
        for one in slow:
            name = one.rule.name or "a tagging rule"
            try:
                said = await self._ask(one, asked)
            except TimeoutError:
                notes.append(f"{name}: no answer within {self._settings.timeout:g} s")
                continue
            except OSError as error:
                notes.append(f"{name}: its process cannot be started: {error.strerror}")
                continue
            if isinstance(said, str):
                notes.append(f"{name}: {said}")
            elif isinstance(said, list):
                good = [tag for tag in said if len(tag) <= 64 and _TAG.fullmatch(tag)]
                tags.update((*one.rule.tags, *good) if good else ())
                if len(good) < len(said):
                    notes.append(f"{name}: {len(said) - len(good)} of its tags are no tags")
            elif said:
                tags.update(one.rule.tags)
        return frozenset(tags), tuple(notes)

    async def configure(self, settings: TaggingConfig) -> None:
        """Use other settings; functions are imported anew."""
        self._settings = settings
        await self.close()

    async def close(self) -> None:
        """End the process."""
        async with self._turn:
            await self._end()

    async def _ask(self, slow: Slow, asked: Asked) -> bool | list[str] | str:
        """The answer; a text is an error."""
        question = msgspec.json.encode(
            {
                "pattern": slow.pattern,
                "text": slow.text,
                "python": slow.python,
                "request": {
                    "path": asked.path,
                    "headers": dict(asked.headers),
                    "query": dict(asked.query),
                    "body": asked.body,
                }
                if slow.python
                else None,
            }
        )
        cold = self._process is None or (slow.python not in self._warm)
        async with asyncio.timeout(START_TIMEOUT_S + self._settings.timeout), self._turn:
            try:
                process = await self._started()
                async with asyncio.timeout(START_TIMEOUT_S if cold else self._settings.timeout):
                    assert process.stdin is not None  # noqa: S101 (it is a pipe)
                    assert process.stdout is not None  # noqa: S101
                    process.stdin.write(HEAD.pack(len(question)) + question)
                    await process.stdin.drain()
                    head = await process.stdout.readexactly(HEAD.size)
                    length = HEAD.unpack(head)[0]
                    if length > MAX_ANSWER_BYTES:
                        await self._end()
                        return "its answer is too long"
                    answer = msgspec.json.decode(await process.stdout.readexactly(length))
            except (asyncio.IncompleteReadError, ConnectionError):
                await self._end()
                return "its process died"
            except BaseException:
                # Half a question or half an answer may be under way: only a new process starts clean.
                await self._end()
                raise
        self._warm.add(slow.python)
        if "error" in answer:
            return str(answer["error"])
        said = answer["tags"]
        return said if isinstance(said, bool) else [str(tag) for tag in said]

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._warm.clear()
        self._process = await asyncio.create_subprocess_exec(
            *own_python("codex_gateway.tagger.worker"),
            *self._settings.python_path,
            env=own_python_environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            # What the function started goes too.
            os.killpg(process.pid, 9)
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()
