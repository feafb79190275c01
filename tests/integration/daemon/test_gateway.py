"""`codex.provider: gateway`: what children are started with, and what becomes of asks while no gateway runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from codex_control.gateway_paths import GatewayPaths
from codex_control.service.lock import SupervisorLock
from codex_control.v1 import admin_pb2, instances_pb2, outcome_pb2

from tests.support.codex_home import CodexHome
from tests.support.fake_codex.place import FakeCodex
from tests.support.supervisor import RunningSupervisor, supervisor_of
from tests.support.waiting import wait_for

TOKEN = "sk-cgw-" + "x" * 43


class GatewayFiles:
    """What a running gateway has written down; its lock is held by this process."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.paths = GatewayPaths.from_environment(environment)
        for directory in (self.paths.runtime_dir, self.paths.token_dir):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write(self.paths.token_file("codex"), TOKEN)
        self._lock = SupervisorLock(self.paths.lock_file)

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o600)

    def start(self, port: int) -> None:
        self._write(self.paths.address_file, f"http://127.0.0.1:{port}\n")
        self._lock.acquire()

    def stop(self) -> None:
        self._lock.release()


SETTINGS = {"backoff_initial": 0.2, "backoff_max": 0.3, "restart_burst": 1, "start_timeout": 20}


@pytest.fixture
async def supervisor(
    codex_home: CodexHome, short_runtime_dir: Path, fake_codex: FakeCodex
) -> AsyncIterator[RunningSupervisor]:
    settings = {"codex": {"binary": str(fake_codex.binary), "provider": "gateway"}, "instances": SETTINGS}
    async with supervisor_of(codex_home, short_runtime_dir, settings) as made:
        yield made


@pytest.fixture
def gateway(supervisor: RunningSupervisor) -> Iterator[GatewayFiles]:
    made = GatewayFiles(supervisor.environment)
    yield made
    made.stop()


def words(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def variables(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_text().split("\0")


async def child_of(supervisor: RunningSupervisor, name: str = "main") -> int:
    return (await supervisor.client.instance(name)).child.pid


def base_url(pid: int) -> str:
    prefix = "model_providers.codex_gateway.base_url="
    return next((word.removeprefix(prefix).strip('"') for word in words(pid) if word.startswith(prefix)), "")


async def test_children_get_address_and_token_at_their_spawn(
    supervisor: RunningSupervisor, gateway: GatewayFiles
) -> None:
    gateway.start(4711)
    await supervisor.client.ask("hello")
    first = await child_of(supervisor)
    assert 'model_provider="codex_gateway"' in words(first)
    assert base_url(first) == "http://127.0.0.1:4711/v1"
    assert f"CODEX_GATEWAY_TOKEN={TOKEN}" in variables(first)
    assert TOKEN not in " ".join(words(first))
    assert TOKEN not in supervisor.log()

    # A gateway that was started anew, elsewhere: the next child finds it, the running one is left alone.
    gateway.stop()
    gateway.start(4712)
    await supervisor.client.ask("hello", "other")
    assert base_url(await child_of(supervisor, "other")) == "http://127.0.0.1:4712/v1"
    assert await child_of(supervisor) == first


async def test_an_ask_waits_for_a_gateway_that_does_not_run_yet(
    supervisor: RunningSupervisor, gateway: GatewayFiles
) -> None:
    asking = asyncio.create_task(supervisor.client.events("hello"))

    async def tried_again() -> bool:
        return supervisor.log().count("no gateway runs") > SETTINGS["restart_burst"] + 1

    await wait_for(tried_again, what="a second start")
    gateway.start(4711)
    events = await asking
    assert events[-1].ended.turn.outcome == outcome_pb2.OUTCOME_COMPLETED
    # It was tried again and again, and told once.
    (told,) = (event.warning.message for event in events if event.HasField("warning"))  # type: ignore[attr-defined]
    assert told.startswith("the turn waits: no gateway runs: ")
    assert "codex-gateway install --now" in told


async def test_without_a_gateway_an_ask_waits_until_its_time_is_up_and_says_what_to_do(
    supervisor: RunningSupervisor, gateway: GatewayFiles
) -> None:
    supervisor.configure(
        {
            "codex": {"binary": str(supervisor.home.root / "bin/codex"), "provider": "gateway"},
            "instances": SETTINGS,
            "turns": {"timeout": 1},
        }
    )
    await supervisor.client.admin.Reload(admin_pb2.ReloadRequest())
    turn = await supervisor.client.ask("hello", "fresh")
    assert turn.outcome == outcome_pb2.OUTCOME_FAILED
    assert "codex-gateway install --now" in turn.error
    assert (await supervisor.client.instance("fresh")).state != instances_pb2.INSTANCE_STATE_FAILED
    checks = {check.name: check for check in (await supervisor.client.admin.Doctor(admin_pb2.DoctorRequest())).checks}
    assert checks["gateway"].status == admin_pb2.CHECK_STATUS_ERROR
    assert "codex-gateway serve" in checks["gateway"].fix


async def test_children_are_adopted_without_a_gateway(supervisor: RunningSupervisor, gateway: GatewayFiles) -> None:
    gateway.start(4711)
    await supervisor.client.ask("hello")
    child = await child_of(supervisor)
    gateway.stop()
    await supervisor.restart()
    assert await child_of(supervisor) == child
    assert (await supervisor.client.ask("again")).outcome == outcome_pb2.OUTCOME_COMPLETED


@pytest.fixture
def settings_of(supervisor: RunningSupervisor) -> Callable[[str], dict[str, object]]:
    def settings(provider: str) -> dict[str, object]:
        return {"codex": {"binary": str(supervisor.home.root / "bin/codex"), "provider": provider}}

    return settings


async def test_a_reload_holds_for_new_children(
    supervisor: RunningSupervisor, gateway: GatewayFiles, settings_of: Callable[[str], dict[str, object]]
) -> None:
    gateway.start(4711)
    await supervisor.client.ask("hello")
    first = await child_of(supervisor)
    supervisor.configure(settings_of("codex"))
    reloaded = await supervisor.client.admin.Reload(admin_pb2.ReloadRequest())
    assert "codex.provider" in " ".join(reloaded.applied)
    await supervisor.client.ask("hello", "other")
    assert await child_of(supervisor) == first
    other = await child_of(supervisor, "other")
    assert base_url(other) == ""
    assert not [one for one in variables(other) if one.startswith("CODEX_GATEWAY_TOKEN=")]
