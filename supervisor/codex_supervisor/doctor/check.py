"""What a check is, and how checks are run: each within a time limit, and a doctor who faints helps nobody."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codex_control.errors import CodexError
from codex_control.paths import Paths
from codex_control.service.clock import Clock
from codex_control.service.redaction import redact

from codex_supervisor.config.model import Config

CHECK_TIMEOUT_S = 20.0
_MAX_OUTPUT_BYTES = 16 * 1024


class CheckStatus(enum.StrEnum):
    """The result of one check."""

    OK = "ok"
    """As it should be."""
    WARNING = "warning"
    """Works, but look at it."""
    ERROR = "error"
    """Does not work."""


@dataclass(frozen=True)
class CheckResult:
    """One line of the doctor. `fix` is empty where nothing is to be done."""

    name: str
    status: CheckStatus
    found: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the checks look at. `config` is what is in force; a broken file is reported by its own check."""

    paths: Paths
    config: Config
    environ: Mapping[str, str]
    clock: Clock


Check = Callable[[Surroundings], Awaitable[CheckResult]]


def ok(name: str, found: str) -> CheckResult:
    """All is well."""
    return CheckResult(name, CheckStatus.OK, found)


def warning(name: str, found: str, fix: str) -> CheckResult:
    """It works, but somebody should look at it."""
    return CheckResult(name, CheckStatus.WARNING, found, fix)


def error(name: str, found: str, fix: str) -> CheckResult:
    """It does not work."""
    return CheckResult(name, CheckStatus.ERROR, found, fix)


async def run_each(
    checks: Sequence[tuple[str, Check]], surroundings: Surroundings, *, timeout_s: float
) -> list[CheckResult]:
    """Run `checks` at once, each within `timeout_s`; one that fails or takes too long is a result too."""

    async def guarded(name: str, check: Check) -> CheckResult:
        try:
            async with asyncio.timeout(timeout_s):
                return await check(surroundings)
        except TimeoutError:
            return error(name, f"no answer within {timeout_s:g} s", "look at the machine's load and at network disks")
        except CodexError as problem:
            # Several reasons are a list, each on a line of its own.
            divider = ":\n" if "\n" in problem.why else ": "
            found = f"{problem.what}{divider}{problem.why}" if problem.why else problem.what
            return error(name, redact(found), problem.next_step)
        except Exception as problem:
            return error(name, redact(f"the check itself failed: {problem!r}"), "report it")

    return list(await asyncio.gather(*(guarded(name, check) for name, check in checks)))


def in_thread(check: Callable[[Surroundings], CheckResult]) -> Check:
    """Make a check of a function that may block on the disk."""

    async def run(surroundings: Surroundings) -> CheckResult:
        return await asyncio.to_thread(check, surroundings)

    return run


async def run_program(
    arguments: Sequence[str], environ: Mapping[str, str], *, timeout_s: float, cwd: Path | None = None
) -> tuple[int, str]:
    """Run a program and return its exit code and the beginning of its output, both streams together.

    Raises `OSError` where it cannot be started and `TimeoutError` where it takes longer; nothing of it is left then.
    """
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        env=dict(environ),
        cwd=cwd,
    )
    output = b""
    try:
        async with asyncio.timeout(timeout_s):
            while process.stdout is not None:
                piece = await process.stdout.read(_MAX_OUTPUT_BYTES)
                if not piece:
                    break
                output = (output + piece)[:_MAX_OUTPUT_BYTES]
            code = await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    return code, output.decode(errors="replace")
