"""The first question of `make run` where there is neither a login nor a service manager, and what follows it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.codex_home import REPOSITORY, CodexHome
from tests.support.waiting import wait_for

BIN = REPOSITORY / ".venv" / "bin"
TIME_LIMIT_S = 60.0


@dataclass
class Person:
    """Somebody with an empty home and a shell."""

    home: CodexHome
    environment: dict[str, str]

    async def start(self, *command: str, **more: str) -> asyncio.subprocess.Process:
        """Start a command."""
        return await asyncio.create_subprocess_exec(
            *command,
            env=self.environment | more,
            cwd=self.home.workspace,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *command: str, **more: str) -> tuple[int | None, str, str]:
        """Run a command; return its code and what it wrote."""
        process = await self.start(*command, **more)
        out, err = await asyncio.wait_for(process.communicate(), TIME_LIMIT_S)
        return process.returncode, out.decode(), err.decode()

    async def ctl(self, *arguments: str) -> tuple[int | None, str, str]:
        """Run codexctl."""
        return await self.run(str(BIN / "codexctl"), *arguments)

    async def service(self) -> Any:
        """What the service says of itself."""
        code, out, err = await self.ctl("version", "--json")
        assert code == 0, err
        return json.loads(out)["service"]

    async def kill_service(self, number: signal.Signals) -> None:
        """Signal the service and wait until it is gone."""
        pid = int((await self.service())["pid"])
        os.kill(pid, number)
        await wait_for(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid), TIME_LIMIT_S, "the service's end")


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
async def person(codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path) -> AsyncIterator[Person]:
    """Somebody without a login, whose service ends with the test."""
    codex_home.config_file.unlink()
    environment = codex_home.environment(short_runtime_dir, PATH=f"{real_codex.parent}:{os.environ['PATH']}")
    config = codex_home.home / ".config/codex-supervisor/config.yaml"
    config.parent.mkdir(parents=True, mode=0o700)
    config.write_text("metrics: {port: 0}\n")
    made = Person(codex_home, environment)
    yield made
    code, _, err = await made.ctl("shutdown")
    assert code == 0, err


async def test_the_first_question_and_a_killed_service(person: Person) -> None:
    code, out, err = await person.run(str(REPOSITORY / "scripts/first_question.sh"))
    assert code == 0, err
    assert "no user service manager" in out
    assert "demo model" in out
    assert (await person.service())["demo_model"]

    # Nothing of the script's environment is here: whoever starts the service next knows nothing of the demo.
    asking = await person.start(str(BIN / "codexctl"), "ask", "--stream", "demo: slow")
    assert asking.stdout is not None
    beginning = await asyncio.wait_for(asking.stdout.read(1), TIME_LIMIT_S)
    assert beginning
    await person.kill_service(signal.SIGKILL)
    out_bytes, err_bytes = await asyncio.wait_for(asking.communicate(), TIME_LIMIT_S)
    assert asking.returncode == 0, err_bytes.decode()
    assert "demo" in out_bytes.decode().lower()
    assert (await person.service())["demo_model"]
    code, out, err = await person.ctl("ask", "demo: plan")
    assert (code, "plan" in out) == (0, True), err


async def test_the_demo_ends_with_a_login(person: Person) -> None:
    code, _, err = await person.run(str(BIN / "codexctl"), "ask", "hello", CODEX_SUPERVISOR_DEMO="1")
    assert code == 0, err
    # Any key is a login to Codex until the provider is asked.
    (person.home.codex_home / "auth.json").write_text('{"OPENAI_API_KEY": "sk-no-real-key"}')
    (person.home.codex_home / "auth.json").chmod(0o600)
    before = await person.service()
    code, _, err = await person.ctl("reload", "--exec")
    assert code == 0, err
    after = await person.service()
    assert after["pid"] == before["pid"]
    assert not after.get("demo_model")
    code, out, _ = await person.ctl("events")
    assert "the demo is over, the real model answers from now on: logged in with an API key" in out
    assert "the demo model answers" in out
    # And it is not remembered any more.
    code, out, _ = await person.ctl("shutdown")
    assert (code, out) == (0, f"the service (pid {after['pid']}) has ended\n")
    await person.run(str(BIN / "codexctl"), "profiles")
    assert not (await person.service()).get("demo_model")


async def test_a_service_that_never_had_the_demo_does_not_begin_one(person: Person) -> None:
    code, _, err = await person.ctl("profiles")
    assert code == 0, err
    assert not (await person.service()).get("demo_model")
