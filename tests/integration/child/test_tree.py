"""Complete stops: whatever a child started, nothing of it is left, and nobody else is touched."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from signal import SIGKILL, SIGSTOP

import msgspec
import pytest
from codex_control.service.clock import SystemClock
from codex_supervisor.child import tree
from codex_supervisor.child.locate import CodexBinary
from codex_supervisor.child.orphans import become_subreaper
from codex_supervisor.child.processes import list_processes, read_process
from codex_supervisor.child.spawn import ChildProcess, ChildSpec, spawn
from codex_supervisor.child.tree import StopReport, stop_tree, sweep

from tests.integration.child.conftest import Child, Start
from tests.support.codex_home import CodexHome
from tests.support.model_script import Command, Stall
from tests.support.stub_model import StubModel
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

IGNORES_TERM = "trap '' TERM;"
MCP_SERVER = """\
import json, subprocess, sys, time
subprocess.Popen(["setsid", "sleep", sys.argv[1]])
for line in sys.stdin:
    call = json.loads(line)
    if "id" not in call:
        continue
    if call["method"] == "initialize":
        about = {"name": "x", "version": "1"}
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": about}
    else:
        result = {"tools": []}
    print(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": result}), flush=True)
time.sleep(float(sys.argv[1]))
"""


def living(seconds: str) -> list[int]:
    """Pids of processes that have the argument `seconds`, which a test uses once."""
    found = []
    for process in list_processes():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
            if seconds.encode() in words and not process.zombie:
                found.append(process.pid)
    return found


@pytest.fixture
def seconds() -> Iterator[str]:
    """A time to sleep that nobody else sleeps. Whatever a failed test left is killed."""
    chosen = f"{300 + secrets.randbelow(10**9) / 10**9:.9f}"
    yield chosen
    for pid in living(chosen):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, SIGKILL)


Run = Callable[..., contextlib.AbstractAsyncContextManager[ChildProcess]]


@pytest.fixture
def run(tmp_path: Path, short_runtime_dir: Path) -> Run:
    """Run a shell script as a child."""

    @contextlib.asynccontextmanager
    async def running(body: str, cgroup: Path | None = None) -> AsyncIterator[ChildProcess]:
        script = tmp_path / "codex"
        script.write_text(f"#!/bin/sh\n{body}\necho up >&2\nwait\n")
        script.chmod(0o755)
        token = secrets.token_hex(8)
        child = await spawn(
            ChildSpec(
                instance="i",
                generation=1,
                token=token,
                binary=CodexBinary(str(script), "1.0.0", "config"),
                socket=short_runtime_dir / "s",
                environment={"PATH": os.defpath, "CODEX_SUPERVISOR_CHILD": token},
                overrides=(),
                stderr_log=tmp_path / "log",
                cwd=str(tmp_path),
                cgroup=cgroup,
            )
        )
        try:
            await wait_for(lambda: "up" in child.stderr_tail(1), what="the script to be up")
            yield child
        finally:
            await stop(child, term_timeout_s=0)
            assert child.exited.done()

    return running


async def stop(child: ChildProcess, *, term_timeout_s: float = 5.0, threads: tuple[str, ...] = ()) -> StopReport:
    return await stop_tree(
        child, thread_ids=threads, term_timeout_s=term_timeout_s, kill_timeout_s=5.0, clock=SystemClock()
    )


async def test_a_willing_child(run: Run, seconds: str) -> None:
    async with run(f"sleep {seconds} &") as child:
        report = await stop(child)
        assert report.child is not None
        assert report.child.signal == 15
        assert (report.terminated, report.killed, report.empty) == (1, 0, True)
        assert living(seconds) == []
        assert report.duration_s < 2


async def test_a_child_that_is_not_watched_any_more(run: Run, seconds: str) -> None:
    async with run(f"sleep {seconds} &") as child:
        child.close()
        report = await stop(child)
        assert (report.child, report.terminated, report.empty) == (None, 2, True)
        assert read_process(child.pid) is None


async def test_sessions_of_their_own(run: Run, seconds: str) -> None:
    async with run(f"setsid sleep {seconds} & setsid sh -c 'setsid sleep {seconds} & sleep {seconds}' &") as child:
        await wait_for(lambda: len(living(seconds)) >= 3)
        assert (await stop(child)).empty
        assert living(seconds) == []


async def test_an_orphan_that_lost_its_environment(run: Run, seconds: str) -> None:
    """As an MCP server's: only the look before the first signal sees whose it is."""
    async with run(f"env -i PATH=$PATH setsid sh -c 'sleep {seconds}; :' &") as child:
        await wait_for(lambda: len(living(seconds)) >= 1)
        assert (await stop(child)).empty
        assert living(seconds) == []


async def test_one_that_ignores_term_is_killed(run: Run, seconds: str) -> None:
    async with run(f"{IGNORES_TERM} setsid sh -c '{IGNORES_TERM} sleep {seconds}' &") as child:
        await wait_for(lambda: len(living(seconds)) >= 1)
        report = await stop(child, term_timeout_s=0.1)
        assert report.child is not None
        assert report.child.signal == 9
        assert report.empty
        assert report.killed >= 2
        assert living(seconds) == []


async def test_a_stopped_one(run: Run, seconds: str) -> None:
    async with run(f"sleep {seconds} &") as child:
        os.kill(child.pid, SIGSTOP)
        for pid in living(seconds):
            os.kill(pid, SIGSTOP)
        report = await stop(child)
        assert report.empty
        assert report.killed == 0  # woken up, so that TERM reaches them
        assert living(seconds) == []


async def test_a_child_that_died_leaves_nothing(run: Run, seconds: str) -> None:
    async with run(f"setsid sleep {seconds} & sleep {seconds} & env -i sleep {seconds} &") as child:
        await wait_for(lambda: len(living(seconds)) == 3)
        os.kill(child.pid, SIGKILL)
        await asyncio.shield(child.exited)
        assert len(living(seconds)) == 3
        report = await stop(child)
        assert report.empty
        assert report.terminated == 3
        assert living(seconds) == []


async def test_one_that_forks_while_it_is_stopped(run: Run, seconds: str) -> None:
    body = f"setsid sh -c 'while :; do setsid sleep {seconds} & sleep 0.002; done' &"
    async with run(body) as child:
        await wait_for(lambda: len(living(seconds)) > 5)
        report = await stop(child, term_timeout_s=0.5)
        assert report.empty
        assert living(seconds) == []


async def test_orphans_become_ours_and_are_reaped(run: Run, seconds: str) -> None:
    assert become_subreaper()
    try:
        async with run(f"setsid sh -c 'sleep {seconds} & sleep {seconds} &' & sleep {seconds} &") as child:
            await wait_for(lambda: len(living(seconds)) == 3)
            assert (await stop(child)).empty
    finally:
        ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)
    # The leak check of every test finds zombies.


async def test_sweep_finds_by_token_alone(run: Run, seconds: str) -> None:
    async with run(f"setsid sleep {seconds} &") as child:
        await wait_for(lambda: len(living(seconds)) == 1)
        os.kill(child.pid, SIGKILL)
        await asyncio.shield(child.exited)
        assert (await sweep("another token", [], clock=SystemClock())).terminated == 0
        assert len(living(seconds)) == 1
        report = await sweep(child.token, [], clock=SystemClock())
        assert (report.terminated, report.empty) == (1, True)
        assert living(seconds) == []


async def test_sweep_spares_a_stranger_with_the_pid(run: Run, seconds: str) -> None:
    with subprocess.Popen(["sleep", seconds], start_new_session=True) as stranger:
        async with run(":") as child:
            record = child.record()
            mistaken = msgspec.structs.replace(record, pid=stranger.pid)
            report = await sweep("another token", ["t"], record=mistaken, clock=SystemClock())
            assert (report.terminated, report.killed, report.empty) == (0, 0, True)
            assert stranger.poll() is None
            assert (await sweep(child.token, [], record=mistaken, clock=SystemClock())).empty
            assert stranger.poll() is None
        stranger.kill()


async def test_by_cgroup(run: Run, seconds: str, own_cgroup: Path) -> None:
    """Nothing escapes where a cgroup is delegated: no parent, no session, no environment is left to tell."""
    escape = f"env -i setsid sh -c 'env -i setsid sleep {seconds} &' & sleep {seconds} &"
    async with run(escape, cgroup=own_cgroup) as child:
        await wait_for(lambda: len(living(seconds)) == 2)
        assert child.pid in tree.cgroup_pids(own_cgroup)
        os.kill(child.pid, SIGKILL)
        await asyncio.shield(child.exited)
        assert (await stop(child)).empty
        assert living(seconds) == []
        assert tree.cgroup_pids(own_cgroup) == set()


@pytest.fixture
def own_cgroup() -> Iterator[Path]:
    candidates = [Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")]
    root = next((root for root in candidates if (root / "cgroup.controllers").exists()), None)
    if root is None or not os.access(root, os.W_OK):
        pytest.skip("no cgroup v2 that we may write to")
    group = root / f"codex-supervisor-test-{secrets.token_hex(4)}"
    group.mkdir()
    yield group
    group.rmdir()


# --- the real Codex -------------------------------------------------------------------------------------------------


@pytest.fixture
def mcp_server(tmp_path: Path, codex_home: CodexHome, seconds: str) -> None:
    """An MCP server that starts a process in a session of its own, and does not end with its input."""
    program = tmp_path / "mcp.py"
    program.write_text(MCP_SERVER)
    words = [str(program), seconds]
    with codex_home.config_file.open("a") as config:
        config.write(f"\n[mcp_servers.x]\ncommand = {sys.executable!r}\nargs = {words!r}\n")


# Without a sandbox a command's processes outlive Codex; bubblewrap's end with it.
UNBOXED, BOXED = "danger-full-access", "workspace-write"


@contextlib.asynccontextmanager
async def busy_child(
    start: Start, home: CodexHome, stub: StubModel, seconds: str, sandbox: str = UNBOXED
) -> AsyncIterator[Child]:
    """A Codex in a turn: a shell command that started another session, and an MCP server that did the same."""
    stub.script(Command(f"setsid sleep {seconds} & sleep {seconds}"))
    stub.script(Stall())
    async with start(overrides=(f'sandbox_mode="{sandbox}"',)) as child:
        thread = await child.start_thread(home.workspace)
        await child.start_turn(thread, "go")
        # Two of the command with its shell, the MCP server and its grandchild.
        await wait_for(lambda: len(living(seconds)) >= 4, 20, "the command and the MCP server to be up")
        yield child


@pytest.mark.usefixtures("mcp_server")
@pytest.mark.parametrize(("sandbox", "term_timeout_s"), [(UNBOXED, 5.0), (UNBOXED, 0.0), (BOXED, 5.0), (BOXED, 0.0)])
async def test_codex_in_a_turn(
    start: Start, codex_home: CodexHome, stub_model: StubModel, seconds: str, sandbox: str, term_timeout_s: float
) -> None:
    async with busy_child(start, codex_home, stub_model, seconds, sandbox) as child:
        report = await child.stop(term_timeout_s)
        assert report.empty
        assert living(seconds) == []
        assert report.child is not None
        assert (report.child.code, report.child.signal) == ((0, None) if term_timeout_s else (None, 9))
        assert not child.spec.socket.is_symlink()


@pytest.mark.usefixtures("mcp_server")
async def test_codex_that_was_killed(start: Start, codex_home: CodexHome, stub_model: StubModel, seconds: str) -> None:
    async with busy_child(start, codex_home, stub_model, seconds) as child:
        child.process.signal(SIGKILL)
        await asyncio.shield(child.process.exited)
        assert living(seconds)
        report = await child.stop(term_timeout_s=0.5)
        assert report.empty
        assert living(seconds) == []


async def test_codex_whose_policy_drops_the_token(
    start: Start, codex_home: CodexHome, stub_model: StubModel, seconds: str
) -> None:
    with codex_home.config_file.open("a") as config:
        config.write('\n[shell_environment_policy]\ninherit = "core"\n')
    stub_model.script(Command(f"setsid sleep {seconds} & sleep {seconds}"))
    stub_model.script(Stall())
    async with start(overrides=(f'sandbox_mode="{UNBOXED}"',)) as child:
        thread = await child.start_thread(codex_home.workspace)
        await child.start_turn(thread, "go")
        await wait_for(lambda: len(living(seconds)) >= 2, 20, "the command to be up")
        [pid, *_] = [pid for pid in living(seconds) if (info := read_process(pid)) is not None and info.sid == pid]
        assert b"CODEX_SUPERVISOR_CHILD" not in Path(f"/proc/{pid}/environ").read_bytes()
        child.process.signal(SIGKILL)
        await asyncio.shield(child.process.exited)
        assert living(seconds)
        assert (await sweep(child.spec.token, [thread], clock=SystemClock())).empty
        assert living(seconds) == []


async def test_an_idle_codex_is_quick(start: Start, codex_home: CodexHome) -> None:
    async with start() as child:
        await child.start_thread(codex_home.workspace)
        report = await child.stop()
        assert report.child is not None
        assert (report.child.code, report.terminated, report.killed) == (0, 0, 0)
        assert report.duration_s < tree.SECOND_TERM_AFTER_S
