"""A real Prometheus (Debian's package `prometheus`) with the deployed rules, for a test, on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.codex_home import REPOSITORY
from tests.support.missing import needed_program
from tests.support.waiting import wait_for

DEPLOYED = REPOSITORY / "deploy" / "prometheus"
SCRAPE_INTERVAL_S = 0.5

_START_TIMEOUT_S = 20.0
_REQUEST_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Prometheus:
    """A running server, by the address of its API."""

    url: str

    async def get(self, path: str, **parameters: str | float) -> Any:
        """Return `data` of an answer of the HTTP API; an error of it is an `AssertionError` that says it."""
        return await asyncio.to_thread(self._get, path, parameters)

    def _get(self, path: str, parameters: dict[str, str | float]) -> Any:
        # As a form: queries are longer than some would have a URL.
        body = urllib.parse.urlencode(parameters).encode() if parameters else None
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", data=body)
        try:
            with urllib.request.urlopen(request, timeout=_REQUEST_TIMEOUT_S) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error
        assert found["status"] == "success", found
        assert not found.get("warnings"), found
        return found["data"]

    async def value(self, query: str) -> float | None:
        """Return the sum of an instant query's samples, or None where there are none."""
        samples = (await self.get("query", query=query))["result"]
        return sum(float(sample["value"][1]) for sample in samples) if samples else None

    async def ready(self) -> bool:
        """Whether it answers queries."""
        try:
            await self.get("status/runtimeinfo")
        except (AssertionError, OSError):
            return False
        return True


@asynccontextmanager
async def prometheus_of(directory: Path, target: str) -> AsyncIterator[Prometheus]:
    """Start one in `directory` that scrapes `target` (`host:port`) with the deployed configuration and rules.

    Of the configuration only the intervals and the target's address are others.
    """
    program = needed_program("prometheus", "prometheus")
    config = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text())
    config["global"] = dict.fromkeys(config["global"], f"{SCRAPE_INTERVAL_S * 1000:.0f}ms")
    config["rule_files"] = [str(DEPLOYED / name) for name in config["rule_files"]]
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [target]}]
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    with socket.socket() as probe:
        # Nobody else takes ports here in between: tests have a loopback of their own.
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    log = directory / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={file}",
                f"--storage.tsdb.path={directory / 'tsdb'}",
                f"--web.listen-address={address}",
                "--log.level=warn",
            ],
            cwd=directory,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(directory)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    made = Prometheus(f"http://{address}")

    async def up() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"Prometheus ended: {log.read_text()}")
        return await made.ready()

    try:
        await wait_for(up, _START_TIMEOUT_S, "Prometheus to answer")
        yield made
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
