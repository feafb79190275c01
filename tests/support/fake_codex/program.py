"""The stand-in as a program: `codex --version`, `codex app-server --listen unix://PATH`."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from websockets.asyncio.server import unix_serve

from tests.support.fake_codex.knobs import Knobs, count_start, home_of, knobs_of, knobs_of_start
from tests.support.fake_codex.server import Server

GRANDCHILD_FILE = "fake-grandchild"
# Longer than any test, and not for ever where a test was killed.
GRANDCHILD_LIFE_S = 300

_GRANDCHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep({})"


def main() -> None:
    """Run; arguments are those of the real one, as far as the product uses them."""
    arguments = sys.argv[1:]
    environ = dict(os.environ)
    if "--version" in arguments:
        knobs = knobs_of(environ)
        print(knobs.version_output if knobs.version_output is not None else f"codex-cli {knobs.version}")
        return
    if "app-server" not in arguments:
        sys.exit(f"the stand-in for Codex has no such command: {arguments}")
    home = home_of(environ)
    knobs = knobs_of_start(environ, count_start(home))
    if knobs.stderr:
        print(knobs.stderr, file=sys.stderr, flush=True)
    if knobs.exit_code is not None:
        sys.exit(knobs.exit_code)
    asyncio.run(_serve(home, knobs, _socket(arguments)))


def _socket(arguments: list[str]) -> Path:
    address = arguments[arguments.index("--listen") + 1]
    if not address.startswith("unix://"):
        sys.exit(f"the stand-in for Codex listens on unix:// only, not on {address}")
    return Path(address.removeprefix("unix://"))


async def _serve(home: Path, knobs: Knobs, socket: Path) -> None:
    ready = asyncio.Event()
    stopping = asyncio.Event()
    server = Server(home, knobs, ready)
    _handle_term(knobs, server, stopping)
    if knobs.grandchild:
        _start_grandchild(home, own_session=knobs.grandchild == "session")
    await asyncio.sleep(knobs.start_delay_s)
    if not knobs.listens:
        await stopping.wait()
        return
    socket.unlink(missing_ok=True)
    # No pings and no message limit, as the real one.
    async with unix_serve(server.serve, str(socket), max_size=None, ping_interval=None, compression=None) as listener:
        dying = asyncio.get_running_loop().create_task(_die(knobs, server, ready))
        await stopping.wait()
        dying.cancel()
        listener.close(close_connections=True)
    socket.unlink(missing_ok=True)


def _handle_term(knobs: Knobs, server: Server, stopping: asyncio.Event) -> None:
    """As the real one on a Unix socket: TERM waits for the turn that runs, a second TERM does not."""
    loop = asyncio.get_running_loop()
    came: list[int] = []

    def on_term() -> None:
        if knobs.ignores_term:
            return
        came.append(1)
        if len(came) > 1 or not server.turns:
            stopping.set()
        else:
            for task in server.turns:
                task.add_done_callback(lambda _: stopping.set())

    loop.add_signal_handler(signal.SIGTERM, on_term)


async def _die(knobs: Knobs, server: Server, ready: asyncio.Event) -> None:
    await ready.wait()
    if knobs.exit_after_ready is not None:
        await server.drain()
        os._exit(knobs.exit_after_ready)
    if knobs.die_after_ready_s is not None:
        await server.drain()
        await asyncio.sleep(knobs.die_after_ready_s)
        os.kill(os.getpid(), signal.SIGKILL)


def _start_grandchild(home: Path, *, own_session: bool) -> None:
    # It inherits our standard streams: whoever reads these to their end waits for it.
    code = _GRANDCHILD.format(GRANDCHILD_LIFE_S)
    process = subprocess.Popen([sys.executable, "-S", "-c", code], start_new_session=own_session)
    (home / GRANDCHILD_FILE).write_text(str(process.pid))
