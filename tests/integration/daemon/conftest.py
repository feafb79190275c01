"""One supervisor for all tests of a file, as long as they do not kill or reconfigure it; each has an instance of its
own.

A file says `pytestmark = pytest.mark.asyncio(loop_scope="module")` to use `daemon`. Tests that need a supervisor of
their own take `supervisor`, or `own_supervisor`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from codex_control.v1 import instances_pb2

from tests.integration.daemon.talking import is_error
from tests.support.codex_home import codex_home_below, short_private_dir
from tests.support.leaks import assert_nothing_left, child_processes, open_files
from tests.support.stub_model import StubModel
from tests.support.supervisor import Client, RunningSupervisor, ref, supervisor_of

# What a file's own supervisor runs with: nothing waits for long, and a failure of the provider is final at once.
SETTINGS = {
    "approvals": {"timeout": 20},
    "instances": {"start_timeout": 20, "stop_timeout": 2},
}


@pytest.fixture(scope="module", autouse=True)
def leak_check() -> Iterator[None]:
    """As in the conftest above, around the whole file: its supervisor and its model live as long."""
    files, children = open_files(), child_processes()
    yield
    assert_nothing_left(files, children)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_model(leak_check: None) -> AsyncIterator[StubModel]:
    """The model of the file's own supervisor."""
    async with StubModel() as stub:
        yield stub


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(
    request: pytest.FixtureRequest, shared_model: StubModel, real_codex: Path
) -> AsyncIterator[RunningSupervisor]:
    """The file's own supervisor with the real Codex. `DAEMON_SETTINGS` of the file are added to its configuration."""
    more = getattr(request.module, "DAEMON_SETTINGS", {})
    settings = {**SETTINGS, "codex": {"binary": str(real_codex)}, **more}
    with codex_home_below() as home, short_private_dir() as runtime_dir:
        home.configure(shared_model.base_url, provider="request_max_retries = 0\nstream_max_retries = 1")
        async with supervisor_of(home, runtime_dir, settings) as made:
            yield made


@pytest.fixture
def model(shared_model: StubModel) -> Iterator[StubModel]:
    """The file's model, without scripts of other tests."""
    shared_model.reset()
    yield shared_model
    shared_model.reset()


@pytest.fixture
def client(daemon: RunningSupervisor) -> Client:
    """A client of the file's own supervisor."""
    return daemon.client


@pytest_asyncio.fixture(loop_scope="module")
async def name(request: pytest.FixtureRequest, daemon: RunningSupervisor) -> AsyncIterator[str]:
    """Name of an instance that belongs to the test alone; afterwards it is deleted with its child."""
    made = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name.removeprefix("test_"))[:60].strip("-")
    yield made
    delete = instances_pb2.DeleteInstanceRequest(instance=ref(made), force=True)
    async with is_error("NOT_FOUND", optional=True):
        await daemon.client.instances.Delete(delete, timeout=20)
