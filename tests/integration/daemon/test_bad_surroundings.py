"""The service in wrong surroundings: it says what is wrong and what to do, with the right exit code, and harms none."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from codex_control.errors import Exit
from codex_control.v1 import admin_pb2, instances_pb2, outcome_pb2, turns_pb2

from tests.integration.daemon.talking import is_error
from tests.support.codex_home import STUB_KEY_NAME, CodexHome
from tests.support.fake_codex.knobs import Knobs
from tests.support.fake_codex.place import FakeCodex
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor, ref, supervisor_of

NAMESPACE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]


@pytest.fixture(autouse=True)
def _real(real_codex: Path) -> None:
    """Every test may start the real Codex."""


@dataclass
class Ended:
    """How `codex-supervisor serve` ended by itself."""

    code: int
    said: str


async def serve(environment: Mapping[str, str], before: Sequence[str] = ()) -> Ended:
    """Run `codex-supervisor serve` where it cannot start."""
    process = await asyncio.create_subprocess_exec(
        *before,
        *(sys.executable, "-m", "codex_supervisor", "serve"),
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 20)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = out.decode()
    assert "Traceback" not in said, said
    assert process.returncode is not None
    return Ended(process.returncode, said)


async def version(supervisor: RunningSupervisor) -> admin_pb2.VersionResponse:
    """What runs."""
    found: admin_pb2.VersionResponse = await supervisor.client.admin.Version(admin_pb2.VersionRequest())
    return found


async def test_a_second_service_names_the_first_and_leaves_it_alone(supervisor: RunningSupervisor) -> None:
    await supervisor.client.ask("hello")
    child = (await supervisor.client.instance()).child.pid
    ended = await serve(supervisor.environment)
    assert ended.code == Exit.CONFLICT
    assert str(supervisor.pid) in ended.said
    assert "codexctl status" in ended.said
    assert (await version(supervisor)).pid == supervisor.pid
    assert (await supervisor.client.ask("again")).outcome == outcome_pb2.OUTCOME_COMPLETED
    assert (await supervisor.client.instance()).child.pid == child


BAD_CONFIGS: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "no YAML": ("turns: [", ("line ",)),
    "wrong type": ("turns:\n  timeout: soon\n", ("line 2", "turns.timeout")),
    "unknown key": ("tunrs:\n  timeout: 5m\n", ("line 1", "tunrs", "turns")),
    "not a mapping": ("- a\n- b\n", ("line 1",)),
    "not UTF-8": (b"turns:\n  \xff: 1\n", ("UTF-8",)),
}


@pytest.mark.parametrize("fault", BAD_CONFIGS)
async def test_a_bad_configuration(codex_home: CodexHome, short_runtime_dir: Path, fault: str) -> None:
    text, expected = BAD_CONFIGS[fault]
    file = codex_home.home / ".config/codex-supervisor/config.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    ended = await serve(codex_home.environment(short_runtime_dir))
    assert ended.code == Exit.CONFIG
    for words in (str(file), *expected):
        assert words in ended.said


async def test_a_runtime_directory_that_others_may_enter(codex_home: CodexHome, short_runtime_dir: Path) -> None:
    runtime = short_runtime_dir / "codex-supervisor"
    runtime.mkdir(mode=0o755)
    ended = await serve(codex_home.environment(short_runtime_dir))
    assert ended.code == Exit.CONFIG
    assert "0755" in ended.said
    assert f"Chmod 700 {runtime}" in ended.said or f"chmod 700 {runtime}" in ended.said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
async def test_a_runtime_directory_of_another_user(codex_home: CodexHome, short_runtime_dir: Path) -> None:
    runtime = short_runtime_dir / "codex-supervisor"
    runtime.mkdir(mode=0o700)
    os.chown(runtime, 12345, 12345)
    ended = await serve(codex_home.environment(short_runtime_dir))
    assert ended.code == Exit.CONFIG
    assert "12345" in ended.said
    assert "another user" in ended.said


async def test_a_runtime_directory_that_is_a_link_or_a_file(
    codex_home: CodexHome, short_runtime_dir: Path, tmp_path: Path
) -> None:
    runtime = short_runtime_dir / "codex-supervisor"
    runtime.symlink_to(tmp_path)
    ended = await serve(codex_home.environment(short_runtime_dir))
    assert ended.code == Exit.CONFIG
    assert "not a directory" in ended.said
    runtime.unlink()
    runtime.write_text("")
    assert (await serve(codex_home.environment(short_runtime_dir))).code == Exit.CONFIG


async def test_a_runtime_directory_whose_path_is_too_long(codex_home: CodexHome, short_runtime_dir: Path) -> None:
    long = short_runtime_dir / ("x" * 100)
    long.mkdir(mode=0o700)
    ended = await serve(codex_home.environment(long))
    assert ended.code == Exit.CONFIG
    assert "107" in ended.said
    assert "CODEX_SUPERVISOR_RUNTIME_DIR" in ended.said


async def test_no_home_at_all(codex_home: CodexHome) -> None:
    ended = await serve({"PATH": os.environ["PATH"]})
    assert ended.code == Exit.CONFIG
    assert "HOME" in ended.said


async def test_a_state_directory_that_cannot_be_written(codex_home: CodexHome, short_runtime_dir: Path) -> None:
    state = codex_home.home / ".local/state"
    state.mkdir(parents=True)
    mount = ["sh", "-c", 'mount -t tmpfs -o ro,mode=0700 none "$0" && exec "$@"', str(state)]
    ended = await serve(codex_home.environment(short_runtime_dir), [*NAMESPACE, *mount])
    assert ended.code in (Exit.CONFIG, Exit.UNAVAILABLE)
    assert str(state) in ended.said
    assert "writable" in ended.said


async def test_a_state_directory_without_space(codex_home: CodexHome, short_runtime_dir: Path) -> None:
    state = codex_home.home / ".local/state"
    state.mkdir(parents=True)
    fill = (
        'mount -t tmpfs -o size=64k,mode=0700 none "$0" && (cat /dev/zero > "$0/full" || true) 2>/dev/null; exec "$@"'
    )
    ended = await serve(codex_home.environment(short_runtime_dir), [*NAMESPACE, "sh", "-c", fill, str(state)])
    assert ended.code in (Exit.LIMIT, Exit.CONFIG, Exit.UNAVAILABLE)
    assert "full" in ended.said or "space" in ended.said.lower()


async def test_a_port_that_is_taken_only_costs_the_metrics(
    codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {"codex": {"binary": str(real_codex)}, "metrics": {"port": port}}
        async with supervisor_of(codex_home, short_runtime_dir, settings) as supervisor:
            found = await version(supervisor)
            assert found.metrics_url == ""
            assert any(str(port) in sentence for sentence in found.degraded)
            assert (await supervisor.client.ask("hello")).outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_a_damaged_store_is_set_aside_and_said_so(
    codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path
) -> None:
    settings = {"codex": {"binary": str(real_codex)}}
    async with supervisor_of(codex_home, short_runtime_dir, settings) as supervisor:
        await supervisor.client.ask("hello")
        await supervisor.stop()
        database = supervisor.state_dir / "supervisor.db"
        garbage = b"this is no database" * 1000
        database.write_bytes(garbage)
        await supervisor.start()
        (sentence,) = (await version(supervisor)).degraded
        aside = next(path for path in supervisor.state_dir.iterdir() if path.is_file() and path.read_bytes() == garbage)
        assert aside.name in sentence
        assert (await supervisor.client.ask("hello")).outcome == outcome_pb2.OUTCOME_COMPLETED


@asynccontextmanager
async def without_codex(
    home: CodexHome, runtime_dir: Path, binary: str, **environment: str
) -> AsyncIterator[RunningSupervisor]:
    """A supervisor whose Codex is `binary`, and which says at once that something is wrong."""
    async with supervisor_of(home, runtime_dir, {"codex": {"binary": binary}}, **environment) as supervisor:
        yield supervisor


async def failed_turns(supervisor: RunningSupervisor) -> list[turns_pb2.Turn]:
    """All recorded turns, which must all have failed."""
    listed: Any = await supervisor.client.turns.List(turns_pb2.ListTurnsRequest())
    assert all(turn.outcome == outcome_pb2.OUTCOME_FAILED for turn in listed.turns)
    return list(listed.turns)


async def test_codex_is_missing_and_then_comes(
    codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path, stub_model: StubModel
) -> None:
    place = codex_home.root / "codex-later"
    async with without_codex(codex_home, short_runtime_dir, str(place)) as supervisor:
        client = supervisor.client
        (sentence,) = (await version(supervisor)).degraded
        assert str(place) in sentence
        turn = await client.ask("hello")
        assert (turn.outcome, turn.cause) == (outcome_pb2.OUTCOME_FAILED, outcome_pb2.CAUSE_CODEX)
        assert str(place) in turn.error
        assert (await client.instance()).state == instances_pb2.INSTANCE_STATE_FAILED
        start = instances_pb2.StartRequest(instance=ref("main"))
        async with is_error("FAILED_PRECONDITION") as refusal:
            await client.instances.Start(start, timeout=20)
        assert str(place) in refusal.message
        assert [turn.id] == [known.id for known in await failed_turns(supervisor)]
        place.symlink_to(real_codex)
        await client.instances.Start(start, timeout=20)
        assert (await client.ask("hello again")).outcome == outcome_pb2.OUTCOME_COMPLETED
        assert not (await version(supervisor)).degraded


async def test_codex_is_too_old(codex_home: CodexHome, short_runtime_dir: Path, fake_codex: FakeCodex) -> None:
    fake_codex.turn_knobs(Knobs(version="0.99.0"))
    async with without_codex(codex_home, short_runtime_dir, str(fake_codex.binary)) as supervisor:
        (sentence,) = (await version(supervisor)).degraded
        assert "0.99.0" in sentence
        turn = await supervisor.client.ask("hello")
        assert (turn.outcome, turn.cause) == (outcome_pb2.OUTCOME_FAILED, outcome_pb2.CAUSE_CODEX)
        assert "0.99.0" in turn.error


async def test_codex_has_a_broken_configuration(
    codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path
) -> None:
    good = codex_home.config_file.read_text()
    codex_home.config_file.write_text(good + "\n[broken\n")
    async with without_codex(codex_home, short_runtime_dir, str(real_codex)) as supervisor:
        turn = await supervisor.client.ask("hello")
        assert (turn.outcome, turn.cause) == (outcome_pb2.OUTCOME_FAILED, outcome_pb2.CAUSE_CODEX)
        assert "config.toml" in turn.error
        codex_home.config_file.write_text(good)
        assert (await supervisor.client.ask("mended")).outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_the_key_of_the_provider_is_missing(
    codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path
) -> None:
    async with without_codex(codex_home, short_runtime_dir, str(real_codex), **{STUB_KEY_NAME: ""}) as supervisor:
        turn = await supervisor.client.ask("hello")
        assert turn.outcome == outcome_pb2.OUTCOME_FAILED
        assert turn.cause in (outcome_pb2.CAUSE_AUTH, outcome_pb2.CAUSE_CODEX)
        assert STUB_KEY_NAME in turn.error


def fill_disk(file: Path) -> None:
    """Write until there is no space."""
    with file.open("wb", buffering=0) as open_file:
        try:
            while True:
                open_file.write(bytes(4096))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


async def test_a_disk_that_fills_up_refuses_asks_and_loses_none(
    codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path
) -> None:
    state = codex_home.home / ".local/state/codex-supervisor"
    state.mkdir(parents=True, mode=0o700)
    mount = ["sh", "-c", 'mount -t tmpfs -o size=8m,mode=0700 none "$0" && exec "$@"', str(state)]
    program = [*NAMESPACE, *mount, sys.executable, "-m", "codex_supervisor", "serve"]
    settings = {"codex": {"binary": str(real_codex)}, "instances": {"stop_timeout": 1}}
    async with supervisor_of(codex_home, short_runtime_dir, settings, program=program) as supervisor:
        client = supervisor.client
        done = await client.ask("before")
        full = Path(f"/proc/{supervisor.pid}/root{state}/full")
        fill_disk(full)
        async with is_error("RESOURCE_EXHAUSTED") as refusal:
            for _ in range(50):  # SQLite has some pages left
                await client.ask("x" * 50_000)
        assert "disk is full" in refusal.what
        listed = await client.turns.List(turns_pb2.ListTurnsRequest())
        assert done.id in {turn.id for turn in listed.turns}
        full.unlink()
        assert (await client.ask("after")).outcome == outcome_pb2.OUTCOME_COMPLETED
        everything = await client.turns.List(turns_pb2.ListTurnsRequest(page_size=500))
        assert all(turn.outcome == outcome_pb2.OUTCOME_COMPLETED for turn in everything.turns)
