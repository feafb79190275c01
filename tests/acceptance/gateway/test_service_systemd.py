"""A person installs the gateway with systemd, uses systemctl on it, and removes it: real manager, real gateway."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.support.codex_home import REPOSITORY
from tests.support.stub_upstream import StubUpstream
from tests.support.user_manager import BIN, AtATerminal, UserManager, user_manager
from tests.support.waiting import wait_for, wait_for_sync

__all__ = ["user_manager"]

pytestmark = pytest.mark.real_systemd

UNIT = "codex-gateway.service"
CHAT = {"model": "stub", "messages": [{"role": "user", "content": "hello"}]}


class Person(AtATerminal):
    """Installs the gateway, and looks after it."""

    def __init__(self, manager: UserManager) -> None:
        super().__init__(manager)
        self.config = manager.home / ".config/codex-gateway/config.yaml"
        self.state_dir = manager.home / ".local/state/codex-gateway"
        self.address = Path(manager.environ["XDG_RUNTIME_DIR"]) / "codex-gateway/address"

    def configures(self, *endpoints: dict[str, Any], **sections: Any) -> None:
        """Write the configuration file."""
        self.config.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # In its place at once, as the gateway looks at it every second.
        new = self.config.with_suffix(".new")
        new.write_text(yaml.safe_dump({"listen": {"port": 0}, "endpoints": list(endpoints), **sections}))
        new.chmod(0o600)
        new.replace(self.config)

    def service(self) -> dict[str, Any]:
        """What `codex-gateway status` says of the service."""
        found: dict[str, Any] | None = json.loads(self.tries("codex-gateway", "status", "--json").stdout)["service"]
        return found or {}

    def installs_and_starts(self) -> int:
        """Install the service, start it, and return its pid."""
        self.types("codex-gateway", "install", "--now")
        pid = self.service()["pid"]
        assert isinstance(pid, int)
        assert pid > 0
        return pid

    @property
    def url(self) -> str:
        """Where the gateway listens now."""
        return self.address.read_text().strip()

    def asks(self, http: aiohttp.ClientSession, **more: Any) -> Any:
        """A chat request with a token, as a context manager."""
        token = (self.state_dir / "tokens/other.token").read_text().strip()
        url = f"{self.url}/v1/chat/completions"
        return http.post(url, json={**CHAT, **more}, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def person(user_manager: UserManager) -> Person:
    return Person(user_manager)


@pytest.fixture
async def stub() -> AsyncIterator[StubUpstream]:
    async with StubUpstream() as made:
        yield made


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as made:
        yield made


def endpoint(stub: StubUpstream, name: str = "one", **more: Any) -> dict[str, Any]:
    return {"name": name, "url": stub.base_url, "dialects": ["chat"], **more}


def test_dry_run_shows_the_unit_and_changes_nothing(person: Person) -> None:
    shown = person.types("codex-gateway", "install", "--dry-run")
    assert f'ExecStart="{BIN}/codex-gateway" serve' in shown
    assert f'Environment="PATH={BIN}:' in shown
    assert "# run: systemctl --user enable codex-gateway.service" in shown
    assert not person.manager.unit_dir.exists()
    assert person.service() == {}


def test_the_unit_is_sound_in_systemds_own_eyes(person: Person) -> None:
    person.types("codex-gateway", "install")
    unit = person.manager.unit_dir / UNIT
    verified = person.manager.run("systemd-analyze", "--user", "--man=no", "--recursive-errors=no", "verify", str(unit))
    assert verified.stderr == ""


async def test_install_start_use_and_uninstall(person: Person, stub: StubUpstream, http: aiohttp.ClientSession) -> None:
    person.configures(endpoint(stub))
    pid = await asyncio.to_thread(person.installs_and_starts)
    # It was ready before `install --now` came back.
    async with http.get(f"{person.url}/readyz") as ready:
        assert ready.status == 200
    async with person.asks(http) as answer:
        assert answer.status == 200
    service = await asyncio.to_thread(person.service)
    assert service["installed"] == "yes"
    assert (service["active"], service["sub"], service["enabled"]) == ("active", "running", "enabled")
    assert service["status"] == f"{person.url}, 1 endpoints"
    told = await asyncio.to_thread(person.types, "codex-gateway", "status")
    assert "service     systemd: active (running), enabled, 0 restarts\n" in told

    assert "uninstalled" in await asyncio.to_thread(person.types, "codex-gateway", "uninstall")
    assert not Path(f"/proc/{pid}").exists()
    assert not person.address.exists()
    assert [path for path in person.manager.unit_dir.rglob("*") if not path.is_dir()] == []
    assert await asyncio.to_thread(person.service) == {}
    # What is the person's own stays.
    assert person.config.exists()
    assert (person.state_dir / "gateway.db").exists()
    # Twice does no harm.
    await asyncio.to_thread(person.types, "codex-gateway", "uninstall")


async def test_a_reload_leaves_a_running_stream_alone(
    person: Person, stub: StubUpstream, http: aiohttp.ClientSession
) -> None:
    person.configures(endpoint(stub))
    pid = await asyncio.to_thread(person.installs_and_starts)
    stub.plan(gap_s=0.1, events=20)
    async with person.asks(http, stream=True) as answer:
        beginning = await answer.content.readany()
        person.configures(endpoint(stub), endpoint(stub, "two", priority=9))
        await asyncio.to_thread(person.manager.systemctl, "reload", UNIT)
        rest = await answer.read()
    assert (beginning + rest).endswith(b"data: [DONE]\n\n")

    async def in_force() -> bool:
        return bool((await asyncio.to_thread(person.service))["status"] == f"{person.url}, 2 endpoints")

    await wait_for(in_force, what="the new configuration to be in force")
    assert (await asyncio.to_thread(person.service))["pid"] == pid


async def test_a_wrong_configuration_on_reload_changes_nothing_and_is_told(
    person: Person, stub: StubUpstream, http: aiohttp.ClientSession
) -> None:
    person.configures(endpoint(stub))
    await asyncio.to_thread(person.installs_and_starts)
    person.configures(endpoint(stub), lisden={})
    await asyncio.to_thread(person.manager.systemctl, "reload", UNIT)

    async def told() -> bool:
        return "not in force" in (await asyncio.to_thread(person.service))["status"]

    await wait_for(told, what="the status line to tell of the mistake")
    async with person.asks(http) as answer:
        assert answer.status == 200


async def test_a_stop_lets_a_running_stream_end(
    person: Person, stub: StubUpstream, http: aiohttp.ClientSession
) -> None:
    person.configures(endpoint(stub))
    await asyncio.to_thread(person.installs_and_starts)
    stub.plan(gap_s=0.1, events=20)
    async with person.asks(http, stream=True) as answer:
        beginning = await answer.content.readany()
        stopping = asyncio.create_task(asyncio.to_thread(person.manager.systemctl, "stop", UNIT))
        rest = await answer.read()
    assert (beginning + rest).endswith(b"data: [DONE]\n\n")
    await stopping
    service = await asyncio.to_thread(person.service)
    assert (service["active"], service["result"], service["pid"]) == ("inactive", "success", 0)


async def test_a_stream_that_outlasts_the_managers_limit_still_ends(
    person: Person, stub: StubUpstream, http: aiohttp.ClientSession
) -> None:
    """As with a drain.timeout of an hour: the gateway asks for more time while requests are under way."""
    person.configures(endpoint(stub))
    await asyncio.to_thread(person.types, "codex-gateway", "install")
    await asyncio.to_thread(person.manager.drop_in, UNIT, "[Service]\nTimeoutStopSec=2s\n")
    await asyncio.to_thread(person.manager.systemctl, "start", UNIT)
    stub.plan(gap_s=0.2, events=20)
    async with person.asks(http, stream=True) as answer:
        beginning = await answer.content.readany()
        stopping = asyncio.create_task(asyncio.to_thread(person.manager.systemctl, "stop", UNIT))
        rest = await answer.read()
    assert (beginning + rest).endswith(b"data: [DONE]\n\n")
    await stopping
    assert (await asyncio.to_thread(person.service))["result"] == "success"


async def test_a_killed_gateway_comes_back_with_its_tokens(
    person: Person, stub: StubUpstream, http: aiohttp.ClientSession
) -> None:
    person.configures(endpoint(stub))
    pid = await asyncio.to_thread(person.installs_and_starts)
    os.kill(pid, signal.SIGKILL)

    async def is_back() -> bool:
        service = await asyncio.to_thread(person.service)
        return service["pid"] not in (0, pid) and service["sub"] == "running"

    await wait_for(is_back, what="a new gateway")
    assert (await asyncio.to_thread(person.service))["restarts"] == 1
    async with person.asks(http) as answer:
        assert answer.status == 200


def test_the_watchdog_ends_a_gateway_that_hangs(person: Person) -> None:
    person.configures()
    person.types("codex-gateway", "install")
    person.manager.drop_in(UNIT, "[Service]\nWatchdogSec=1s\nRestartSec=20ms\n")
    person.manager.systemctl("start", UNIT)
    pid = person.service()["pid"]
    os.kill(pid, signal.SIGSTOP)
    wait_for_sync(lambda: not Path(f"/proc/{pid}").exists(), what="the watchdog to end it")
    person.manager.wait_for_state(UNIT, "active")
    assert person.service()["restarts"] == 1


def test_a_wrong_configuration_is_not_tried_again_and_its_reason_is_told(person: Person) -> None:
    person.configures(lisden={"port": 1})
    ended = person.tries("codex-gateway", "install", "--now")
    assert ended.returncode == 3
    service = person.service()
    assert (service["active"], service["result"], service["restarts"]) == ("failed", "exit-code", 0)
    assert "lisden" in service["status"]
    told = person.tries("codex-gateway", "status")
    assert told.returncode == 3
    assert "systemd: failed" in told.stdout
    assert "listen" in told.stdout, "the nearest right key"
    # Once it is right it starts.
    person.configures()
    assert person.installs_and_starts() > 0


def test_a_taken_port_is_not_tried_again_and_its_reason_is_told(person: Person, stub: StubUpstream) -> None:
    person.configures(listen={"port": stub.port})
    person.types("codex-gateway", "install")
    person.manager.systemctl("start", UNIT, check=False)
    service = person.service()
    assert (service["active"], service["restarts"]) == ("failed", 0)
    assert f"cannot listen on 127.0.0.1:{stub.port}" in service["status"]


TAGGER = """
import tempfile, pathlib
def tags(request):
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x")
    pathlib.Path.home().joinpath("tagged").write_text(request["body"]["model"])
    return ["fast"]
"""
KEY = """\
#!/bin/sh
set -e
echo "$SOME_VARIABLE" > "$HOME/asked"
mktemp > /dev/null
printf 'key-from-a-command\\n'
"""


async def test_taggers_and_key_commands_work_in_the_hardened_unit(
    person: Person, stub: StubUpstream, http: aiohttp.ClientSession
) -> None:
    home = person.manager.home
    (home / "taggers").mkdir()
    (home / "taggers/mine.py").write_text(TAGGER)
    (home / "key.sh").write_text(KEY)
    (home / "key.sh").chmod(0o700)
    person.configures(
        endpoint(stub, tags=["fast"], auth={"command": ["~/key.sh"]}),
        tagging={"python_path": ["~/taggers"], "rules": [{"name": "mine", "python": "mine:tags"}]},
    )
    (person.config.parent / "environment").write_text("SOME_VARIABLE=from the file\n")
    pid = await asyncio.to_thread(person.installs_and_starts)
    async with person.asks(http) as answer:
        assert answer.status == 200, await answer.text()
    assert stub.requests[-1].headers["authorization"] == "Bearer key-from-a-command"
    assert (home / "tagged").read_text() == "stub"
    assert (home / "asked").read_text() == "from the file\n"
    limits = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert (limits["NoNewPrivs"], limits["Seccomp"], limits["Umask"]) == ("1", "2", "0077")


def test_a_unit_of_somebody_else_is_not_overwritten(person: Person) -> None:
    person.manager.unit_dir.mkdir(parents=True)
    unit = person.manager.unit_dir / UNIT
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    ended = person.tries("codex-gateway", "install")
    assert ended.returncode == 10
    assert "--force" in ended.stderr
    assert unit.read_text() == "[Service]\nExecStart=/bin/true\n"
    person.types("codex-gateway", "install", "--force")
    assert "NoNewPrivileges" in unit.read_text()


def test_without_a_user_manager_the_error_says_what_to_do(person: Person) -> None:
    nowhere = {**person.environ, "XDG_RUNTIME_DIR": "/nonexistent", "DBUS_SESSION_BUS_ADDRESS": ""}
    ended = person.manager.run("codex-gateway", "install", check=False, environ=nowhere)
    assert ended.returncode == 3
    assert ended.stderr.startswith("codex-gateway: your systemd user manager cannot be reached: ")
    assert "codex-gateway serve" in ended.stderr


def test_both_services_side_by_side(person: Person, real_codex: Path) -> None:
    config = person.manager.home / ".config/codex-supervisor/config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(f"metrics: {{port: 0}}\ncodex: {{provider: gateway, binary: {real_codex}}}\n")
    person.configures()
    person.types("codex-supervisor", "install", "--now")

    def gateway_check() -> dict[str, str]:
        checks = json.loads(person.tries("codexctl", "doctor", "--json").stdout)
        return next(check for check in checks if check["name"] == "gateway")

    assert "codex-gateway install --now" in gateway_check()["fix"]
    pid = person.installs_and_starts()
    assert gateway_check()["found"].startswith(f"children that start now use {person.url};")
    person.types("codex-supervisor", "uninstall")
    assert person.service()["pid"] == pid
    person.types("codex-gateway", "uninstall")
    assert not list(person.manager.unit_dir.rglob("*.service"))


def test_the_sources_hold_no_unit_with_a_path_of_this_machine(person: Person) -> None:
    template = (REPOSITORY / "gateway/codex_gateway/osservice" / f"{UNIT}.in").read_text()
    assert str(REPOSITORY) not in template
    assert str(person.manager.home) not in template
