"""Finding the Codex binary: where the configuration says, else on PATH, else in the PyPI wheel."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from codex_control.codex_wheel import codex_of_wheel
from codex_control.errors import CodexUnusable

from codex_supervisor.child.exitwatch import wait_for_exit

_log = logging.getLogger(__name__)

MINIMUM_VERSION = "0.154.0"
"""The oldest release tried that has all that `requests.py` names: 0.144.4 has no `thread/revert`."""

Source = Literal["config", "path", "wheel"]

# 0.163.0 answers in 20 to 50 ms; a cold disk has to read 300 MB first.
VERSION_TIMEOUT_S = 15.0
_VERSION_OUTPUT_BYTES = 4096
_VERSION = re.compile(r"\b(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?")
# What a Codex built from source calls itself.
_SOURCE_BUILD = (0, 0, 0)

_NATIVE_MAGIC = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
# In the shell scripts that pnpm and npm (on some systems) put on PATH instead of a link.
_SHIM_TARGET = re.compile(rb'"(?:\$basedir/)?([^"\n]*@openai/codex/bin/codex\.js)"')

_INSTALL = "install it with `npm install -g @openai/codex`, or `pip install 'codex-supervisor[codex]'`"


@dataclass(frozen=True)
class CodexBinary:
    """A Codex that answered. `path` is the native binary, `version` such as 0.163.0."""

    path: str
    version: str
    source: Source


async def locate_codex(configured: str, environ: Mapping[str, str]) -> CodexBinary:
    """Find a usable Codex: `configured` (a path, or a name on PATH; empty for none), else PATH, else the wheel.

    A configured Codex that is unusable is an error; an unusable one on PATH gives way to the wheel where that is
    installed. `environ` is the supervisor's environment.

    Raises `CodexUnusable` where there is none, or it cannot be run, does not answer, or is older than
    `MINIMUM_VERSION`.
    """
    if configured:
        return await _checked(_configured(configured, environ), "config", environ)
    on_path = shutil.which("codex", path=environ.get("PATH", os.defpath))
    wheel = codex_of_wheel()
    if on_path is not None:
        try:
            return await _checked(Path(on_path), "path", environ)
        except CodexUnusable as error:
            if wheel is None:
                raise
            _log.warning("codex_on_path_unusable", extra={"error": str(error)})
    if wheel is not None:
        return await _checked(wheel, "wheel", environ)
    raise CodexUnusable(
        what="Codex was not found",
        why="the configuration names none, there is no `codex` on PATH, and the PyPI wheel is not installed",
        next_step=_INSTALL,
    )


def codex_word(configured: str, environ: Mapping[str, str]) -> str:
    """What a person calls Codex by in a shell: its name where it is on `PATH`, else the whole path of the one in use.

    Looks at no more than where it is; arguments as of `locate_codex`.
    """
    if shutil.which("codex", path=environ.get("PATH", os.defpath)):
        return "codex"
    try:
        path = _configured(configured, environ) if configured else codex_of_wheel()
    except CodexUnusable:
        path = None
    return shlex.quote(str(path)) if path else "codex"


def _configured(configured: str, environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME", "")
    if configured.startswith("~/") and home:
        configured = home + configured[1:]
    if "/" not in configured:
        found = shutil.which(configured, path=environ.get("PATH", os.defpath))
        if found is None:
            raise CodexUnusable(
                what=f"the configured Codex {configured} was not found",
                why="there is no such program on PATH",
                next_step=f"correct `codex.binary` in the configuration, or {_INSTALL}",
            )
        return Path(found)
    path = Path(configured)
    if not path.is_file():
        raise CodexUnusable(
            what=f"the configured Codex {path} was not found",
            why="there is no such file",
            next_step=f"correct `codex.binary` in the configuration, or {_INSTALL}",
        )
    return path


async def _checked(path: Path, source: Source, environ: Mapping[str, str]) -> CodexBinary:
    native = native_binary(path)
    if not os.access(native, os.X_OK):
        raise CodexUnusable(
            what=f"{native} cannot be run",
            why="it is not executable for us",
            next_step=f"make it executable: `chmod +x {native}`",
        )
    answer = await _ask_version(native, environ)
    found = _VERSION.search(answer)
    if found is None:
        raise CodexUnusable(
            what=f"{native} is no usable Codex",
            why=f"its answer to --version holds no version: {answer[:200]!r}",
            next_step=_INSTALL,
        )
    version = found.group(0)
    if not is_new_enough(version):
        raise CodexUnusable(
            what=f"Codex {version} at {native} is too old",
            why=f"{MINIMUM_VERSION} is the oldest that works",
            next_step="update it: `npm install -g @openai/codex@latest`, or the way that it was installed",
        )
    return CodexBinary(str(native), version, source)


def is_new_enough(version: str) -> bool:
    """Whether a Codex of this version has what we use. A build from source (0.0.0) is taken to be new."""
    numbers = _numbers(version)
    return numbers == _SOURCE_BUILD or numbers >= _numbers(MINIMUM_VERSION)


def _numbers(version: str) -> tuple[int, int, int]:
    found = _VERSION.search(version)
    return (int(found[1]), int(found[2]), int(found[3])) if found else (-1, -1, -1)


async def _ask_version(binary: Path, environ: Mapping[str, str]) -> str:
    kept = {name: environ[name] for name in ("PATH", "HOME", "CODEX_HOME", "LANG", "TMPDIR") if name in environ}
    try:
        process = subprocess.Popen(  # noqa: ASYNC220 (vfork and exec, 1 ms; asyncio's own wait needs the pipe's end)
            [binary, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=kept,
            bufsize=0,
        )
    except OSError as error:
        raise CodexUnusable(
            what=f"{binary} cannot be run", why=error.strerror or str(error), next_step=_INSTALL
        ) from error
    process.returncode = 0  # Reaped by `wait_for_exit`.
    try:
        async with asyncio.timeout(VERSION_TIMEOUT_S):
            output = await _read_some(process)
    except TimeoutError as error:
        raise CodexUnusable(
            what=f"{binary} does not answer",
            why=f"`--version` was not answered within {VERSION_TIMEOUT_S:g} s",
            next_step=f"run `{binary} --version` yourself to see what holds it up",
        ) from error
    finally:
        # Not reaped yet, so the number is its own. Its session is too: whatever a wrapper started goes along.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await wait_for_exit(process.pid)
    return output.decode(errors="replace")


async def _read_some(process: subprocess.Popen[bytes]) -> bytes:
    """Read the process's output to its end, or as much as a version can have."""
    if process.stdout is None:
        return b""
    loop = asyncio.get_running_loop()
    with process.stdout as pipe:
        os.set_blocking(pipe.fileno(), False)
        output = b""
        while len(output) < _VERSION_OUTPUT_BYTES:
            readable = asyncio.Event()
            loop.add_reader(pipe.fileno(), readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(pipe.fileno())
            piece = os.read(pipe.fileno(), _VERSION_OUTPUT_BYTES)
            if not piece:
                break
            output += piece
        return output


# --- npm ------------------------------------------------------------------------------------------------------------


def native_binary(path: Path) -> Path:
    """Return the native binary behind npm's `codex`, or `path` itself where it is not npm's.

    npm's is a Node script: it costs memory, and on older Nodes it stays in between and leaves the binary alive when
    it is killed. Raises `CodexUnusable` where the script is there without its binary.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8192)
    except OSError as error:
        raise CodexUnusable(
            what=f"{path} cannot be read",
            why=error.strerror or str(error),
            next_step=f"make it readable, or {_INSTALL}",
        ) from error
    if head.startswith(_NATIVE_MAGIC):
        return path.resolve()
    script = _npm_script(path, head)
    if script is None:
        return path
    for candidate in _native_candidates(script.parent.parent):
        if candidate.is_file():
            return candidate.resolve()
    raise CodexUnusable(
        what=f"npm's Codex at {path} lacks its native binary",
        why=f"the package for this platform ({_platform_package()}) is not installed",
        next_step="reinstall it: `npm install -g @openai/codex@latest`",
    )


def _npm_script(path: Path, head: bytes) -> Path | None:
    real = path.resolve()
    if real.name == "codex.js" and real.parent.name == "bin":
        return real
    shim = _SHIM_TARGET.search(head) if head.startswith(b"#!") else None
    if shim is None:
        return None
    # An absolute target wins over the parent, as `/` does for paths.
    return (path.parent / os.fsdecode(shim[1])).resolve()


def _native_candidates(package: Path) -> list[Path]:
    """Where Node would find the platform's package from `package`, newest layout first; then the layout before that."""
    inside = Path("vendor", _target_triple(), "bin", "codex")
    platform_package = Path("node_modules", *_platform_package().split("/"))
    found = [parent / platform_package / inside for parent in (package, *package.parents)]
    return [*found, package / inside]


def _platform_package() -> str:
    system = "darwin" if sys.platform == "darwin" else "linux"
    return f"@openai/codex-{system}-{'arm64' if _is_arm() else 'x64'}"


def _target_triple() -> str:
    machine = "aarch64" if _is_arm() else "x86_64"
    return f"{machine}-apple-darwin" if sys.platform == "darwin" else f"{machine}-unknown-linux-musl"


def _is_arm() -> bool:
    return platform.machine().lower() in ("arm64", "aarch64")
