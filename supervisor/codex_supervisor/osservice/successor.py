"""The installed version beside the one that runs: whether it can take its place, tried before that one lets go of
anything, and what becomes of modules that are loaded late.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Iterator

from codex_control.errors import WrongState
from codex_control.own_python import own_python, own_python_environment

_log = logging.getLogger(__name__)

# An import takes half a second; a machine that swaps takes longer.
_TIMEOUT_S = 30.0

# Its own judgement, for it may want other dependencies and take another configuration than we do.
_TRY = ("serve", "--check")


async def check_successor() -> None:
    """Raise `WrongState` where the installed version does not start: an upgrade was left half way, most often, or it
    does not take the configuration.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *own_python("codex_supervisor"),
            *_TRY,
            env=own_python_environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise _unfit(f"{sys.executable}: {error.strerror}") from error
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            _, output = await process.communicate()
    except TimeoutError as error:
        raise _unfit(f"nothing came of it in {_TIMEOUT_S:g} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        # The end of a traceback, or our own sentence before its fix.
        lines = [line for line in output.decode(errors="replace").splitlines() if line and not line.startswith(" ")]
        raise _unfit(lines[-1][:500] if lines else f"its exit code is {process.returncode}")


@contextlib.contextmanager
def late_import() -> Iterator[None]:
    """Around what imports what the start did not: it may be gone by now, or of a version that does not fit ours.

    Raises `WrongState` then.
    """
    try:
        yield
    except ImportError as error:
        raise WrongState(
            what="this needs a part of the program that was not loaded yet, and the installed one does not fit",
            why=f"the installed version is not the one that runs: {error}",
            next_step="`codexctl reload --exec` runs the installed version; turns go on",
        ) from error


def _unfit(why: str) -> WrongState:
    _log.warning("replacement_refused", extra={"why": why})
    return WrongState(
        what="the installed version does not start, so the running one goes on",
        why=why,
        next_step="correct that, or install it again, then `codexctl reload --exec`",
    )
