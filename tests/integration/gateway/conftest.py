"""A gateway in this process in front of stub endpoints, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import yaml
from codex_gateway.config.reading import load_config
from codex_gateway.gateway import Gateway
from codex_gateway.paths import GatewayPaths

from tests.support.codex_home import CodexHome
from tests.support.stub_upstream import StubUpstream


@dataclass
class Running:
    """A running gateway and a client of it."""

    gateway: Gateway
    http: aiohttp.ClientSession
    config_file: Path
    stop: asyncio.Event
    task: asyncio.Task[None]

    @property
    def url(self) -> str:
        return self.gateway.url

    def token(self, name: str = "other") -> str:
        return self.gateway.tokens.text_of(name)

    def headers(self, name: str = "other") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(name)}"}

    def post(self, path: str, body: Any, **headers: str) -> Any:
        """A request with a token, as a context manager."""
        return self.http.post(self.url + path, json=body, headers={**self.headers(), **headers})

    def write_config(self, **sections: Any) -> None:
        write_config(self.config_file, sections)


def write_config(path: Path, sections: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump({"listen": {"port": 0}, **sections}))
    path.chmod(0o600)


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "stub", "messages": [{"role": "user", "content": "hello"}], **more}


def messages(**more: Any) -> dict[str, Any]:
    return {"model": "stub", "max_tokens": 64, "messages": [{"role": "user", "content": "hello"}], **more}


def responses(**more: Any) -> dict[str, Any]:
    return {"model": "stub", "input": "hello", **more}


BODIES: dict[str, Callable[..., dict[str, Any]]] = {
    "/v1/chat/completions": chat,
    "/v1/messages": messages,
    "/v1/responses": responses,
}


def endpoint(
    stub: StubUpstream, name: str = "one", dialects: tuple[str, ...] = ("chat",), **more: Any
) -> dict[str, Any]:
    return {"name": name, "url": stub.base_url, "dialects": list(dialects), **more}


# Waits that tests need not sit through.
QUICK = {"retries": {"backoff_initial": 0.01, "backoff_max": 0.02}, "records": {"enabled": False}}

Start = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts a gateway with the sections of a configuration."""

    @asynccontextmanager
    async def started(**sections: Any) -> AsyncIterator[Running]:
        paths = GatewayPaths(tmp_path / "config.yaml", tmp_path / "state", tmp_path / "run")
        for directory in (paths.state_dir, paths.runtime_dir):
            directory.mkdir(mode=0o700, exist_ok=True)
        write_config(paths.config_file, {**QUICK, **sections})
        gateway = Gateway(paths, load_config(paths.config_file))
        ready, stop = asyncio.Event(), asyncio.Event()
        task = asyncio.get_running_loop().create_task(gateway.run(ready, stop))
        waiting = asyncio.get_running_loop().create_task(ready.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            task.result()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
            try:
                yield Running(gateway, http, paths.config_file, stop, task)
            finally:
                stop.set()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        assert gateway.failure is None

    return started


@pytest.fixture
async def stub() -> AsyncIterator[StubUpstream]:
    async with StubUpstream() as made:
        yield made


@pytest.fixture
async def other() -> AsyncIterator[StubUpstream]:
    """A second endpoint."""
    async with StubUpstream() as made:
        yield made


async def codex_exec(codex: Path, home: CodexHome, prompt: str) -> bytes:
    """Run `codex exec` to its good end; the events that it printed as JSON lines."""
    arguments = ("exec", "--json", "--skip-git-repo-check", "--sandbox", "danger-full-access")
    process = await asyncio.create_subprocess_exec(
        *(str(codex), *arguments, "-C", str(home.workspace), prompt),
        env=home.environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()[-2000:] + said.decode()[-2000:]
    return said


def events(data: bytes) -> list[Any]:
    """The data of each event of a stream, decoded; `[DONE]` as it is."""
    found = []
    for block in data.split(b"\n\n"):
        for line in block.split(b"\n"):
            if line.startswith(b"data: "):
                text = line[6:]
                found.append("[DONE]" if text == b"[DONE]" else msgspec.json.decode(text))
    return found
