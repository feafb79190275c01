"""How a child finds the gateway: by what a running gateway has written down, and never by what a dead one left."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from codex_control.errors import ChildFailed, UnsafePath
from codex_control.gateway_paths import GatewayPaths, running_pid
from codex_control.service.lock import SupervisorLock
from codex_supervisor.child.gateway import TOKEN_NAME, find_gateway

TOKEN = "sk-cgw-" + "x" * 43


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "CODEX_GATEWAY_RUNTIME_DIR": str(tmp_path / "run")}


@pytest.fixture
def paths(environ: dict[str, str]) -> GatewayPaths:
    made = GatewayPaths.from_environment(environ)
    made.runtime_dir.mkdir(mode=0o700)
    made.token_dir.mkdir(mode=0o700, parents=True)
    write(made.address_file, "http://127.0.0.1:4711\n")
    write(made.token_file("codex"), TOKEN + "\n")
    return made


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


@contextmanager
def running(paths: GatewayPaths) -> Iterator[None]:
    lock = SupervisorLock(paths.lock_file)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def test_address_and_token_of_the_running_gateway_reach_codex(environ: dict[str, str], paths: GatewayPaths) -> None:
    with running(paths):
        assert running_pid(paths) == os.getpid()
        found = find_gateway(environ)
    assert found.environment == {TOKEN_NAME: TOKEN}
    assert TOKEN not in repr(found)
    assert not [setting for setting in found.overrides if TOKEN in setting]
    assert set(found.overrides) == {
        'model_provider="codex_gateway"',
        'model_providers.codex_gateway.name="codex-gateway"',
        'model_providers.codex_gateway.base_url="http://127.0.0.1:4711/v1"',
        'model_providers.codex_gateway.wire_api="responses"',
        f'model_providers.codex_gateway.env_key="{TOKEN_NAME}"',
    }


def test_what_a_killed_gateway_left_is_not_believed(environ: dict[str, str], paths: GatewayPaths) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    for pid in (ended.stdout.decode(), str(os.getpid())):
        # The second is of another program by now: only the lock tells.
        write(paths.lock_file, pid)
        with pytest.raises(ChildFailed, match=r"no gateway runs.*codex-gateway serve.*codex-gateway install --now"):
            find_gateway(environ)


def test_asking_lets_a_gateway_start(environ: dict[str, str], paths: GatewayPaths) -> None:
    write(paths.lock_file, str(os.getpid()))
    assert running_pid(paths) is None
    descriptor = os.open(paths.lock_file, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    "address", ["", "http://example.org:80", "http://127.0.0.1:80/x", "http://127.0.0.1:1\n-c x=y"]
)
def test_an_address_that_is_none_of_the_gateways(environ: dict[str, str], paths: GatewayPaths, address: str) -> None:
    write(paths.address_file, address)
    with running(paths), pytest.raises(ChildFailed, match="no gateway runs"):
        find_gateway(environ)


def test_a_revoked_token_is_named(environ: dict[str, str], paths: GatewayPaths) -> None:
    paths.token_file("codex").unlink()
    with running(paths), pytest.raises(ChildFailed, match=r"no token for Codex: .*codex\.token.*tokens list"):
        find_gateway(environ)


def test_a_file_that_others_may_write_is_refused(environ: dict[str, str], paths: GatewayPaths) -> None:
    paths.token_file("codex").chmod(0o622)
    with running(paths), pytest.raises(UnsafePath, match="somebody else"):
        find_gateway(environ)
