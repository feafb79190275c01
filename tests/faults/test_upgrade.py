"""An upgrade replaces the files of a running service: it goes on with what it has, and takes the new version whole."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import grpc
import pytest
from codex_control import __version__
from codex_control.v1 import admin_pb2, outcome_pb2

from tests.faults.watching import child_pid
from tests.support.codex_home import REPOSITORY, CodexHome
from tests.support.fake_codex.place import FakeCodex
from tests.support.supervisor import RunningSupervisor, supervisor_of
from tests.support.waiting import wait_for

NEW_VERSION = "99.0.0"
# At the end of every new file: none may be loaded by the old version.
REFUSE_OTHERS = f"""
import codex_control
if codex_control.__version__ != "{NEW_VERSION}":
    raise ImportError("a file of version {NEW_VERSION}")
"""
# A setting that the new version calls otherwise.
OLD_SETTING, NEW_SETTING = "queue_limit", "queue_bound"


@pytest.fixture
def installed(codex_home: CodexHome) -> Path:
    """A copy of the program."""
    folder = codex_home.root / "installed"
    for package in ("proto/codex_control", "supervisor/codex_supervisor"):
        shutil.copytree(REPOSITORY / package, folder / Path(package).name)
    return folder


def upgrade(installed: Path) -> None:
    """Replace every file by one of the new version."""
    for file in installed.rglob("*.py"):
        text = file.read_text().replace(OLD_SETTING, NEW_SETTING)
        file.unlink()
        file.write_text(text.replace(f'"{__version__}"', f'"{NEW_VERSION}"') + REFUSE_OTHERS)


async def version(supervisor: RunningSupervisor) -> admin_pb2.VersionResponse:
    request = admin_pb2.VersionRequest()
    answer: admin_pb2.VersionResponse = await supervisor.client.admin.Version(request, timeout=5, wait_for_ready=True)
    return answer


async def test_an_upgrade_under_a_running_service(
    codex_home: CodexHome, short_runtime_dir: Path, fake_codex: FakeCodex, installed: Path
) -> None:
    codex = {"codex": {"binary": str(fake_codex.binary)}}
    async with supervisor_of(codex_home, short_runtime_dir, codex, PYTHONPATH=str(installed)) as supervisor:
        # Nothing was asked yet: what has not been used is not loaded by use.
        upgrade(installed)
        admin = supervisor.client.admin
        assert (await supervisor.client.ask("hello")).outcome == outcome_pb2.OUTCOME_COMPLETED
        child = await child_pid(supervisor)

        # What it has to load now does not fit, and it says what to do.
        for call in (admin.Reload(admin_pb2.ReloadRequest()), admin.Doctor(admin_pb2.DoctorRequest())):
            with pytest.raises(grpc.aio.AioRpcError, match=r"a file of version 99.*codexctl reload --exec") as raised:
                await call
            assert raised.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        os.kill(supervisor.pid, signal.SIGHUP)

        async def says_so() -> bool:
            return any("was not taken" in sentence for sentence in (await version(supervisor)).degraded)

        await wait_for(says_so, what="the service to say that it could not reload")
        assert (await version(supervisor)).version == __version__

        # The new version takes a configuration that the old one would refuse.
        supervisor.configure({**codex, "turns": {NEW_SETTING: 3}})
        await admin.Reload(admin_pb2.ReloadRequest(exec=True))

        async def is_replaced() -> bool:
            try:
                return (await version(supervisor)).version == NEW_VERSION
            except grpc.aio.AioRpcError:
                return False

        await wait_for(is_replaced, what="the new version")
        assert await child_pid(supervisor) == child, "the child was adopted"
        assert (await supervisor.client.ask("hello again")).outcome == outcome_pb2.OUTCOME_COMPLETED
