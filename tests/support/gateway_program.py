"""The real `codex-gateway` as processes of their own: `serve`, and its commands beside it."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from codex_control.gateway_paths import GatewayPaths, running_pid

from tests.support.waiting import wait_for

PROGRAM = Path(sys.executable).parent / "codex-gateway"
TIME_LIMIT_S = 60.0


@dataclass(frozen=True)
class Ran:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its one line of JSON."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Its lines of JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class GatewayProgram:
    """`environment` is all that its processes get."""

    environment: dict[str, str]
    process: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def paths(self) -> GatewayPaths:
        """Where its files are."""
        return GatewayPaths.from_environment(self.environment)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.paths.address_file.read_text().strip()

    def configure(self, **sections: Any) -> None:
        """Write config.yaml; any free port."""
        self.write_config(yaml.safe_dump({"listen": {"port": 0}, **sections}, sort_keys=False))

    def write_config(self, text: str) -> None:
        """Write config.yaml as it is."""
        self.paths.config_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.paths.config_file.write_text(text)
        self.paths.config_file.chmod(0o600)

    async def start(self, *arguments: str) -> None:
        """`codex-gateway serve`, until it listens."""
        self.process = await asyncio.create_subprocess_exec(
            PROGRAM,
            "serve",
            *arguments,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

        def listens() -> bool:
            assert self.process is not None
            assert self.process.returncode is None, "the gateway ended"
            return running_pid(self.paths) is not None and self.paths.address_file.exists()

        await wait_for(listens, TIME_LIMIT_S, "the gateway")

    async def end(self) -> None:
        """SIGTERM, and wait for its end."""
        process, self.process = self.process, None
        if process is not None and process.returncode is None:
            process.terminate()
            assert await asyncio.wait_for(process.wait(), TIME_LIMIT_S) == 0

    async def run(self, *arguments: str, **environment: str) -> Ran:
        """Run a command to its end."""
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *arguments,
            env=self.environment | environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), TIME_LIMIT_S)
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def done(self, *arguments: str, **environment: str) -> Ran:
        """Run a command that must go well."""
        ran = await self.run(*arguments, **environment)
        assert ran.code == 0, ran
        return ran
