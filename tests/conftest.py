"""Fixtures for all tests: nouns, each with its end. See tests/support for what they are made of."""

from __future__ import annotations

import asyncio
import inspect
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc.aio
import pytest

from tests.support.claude_code import claude_program
from tests.support.codex_home import CodexHome, codex_home_below, short_private_dir
from tests.support.codex_schema import CodexSchema
from tests.support.fake_codex.place import FakeCodex
from tests.support.leaks import assert_no_tasks_left, assert_nothing_left, child_processes, open_files
from tests.support.loopback_only import namespaces_possible, outside_interfaces
from tests.support.missing import leave_out
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor, supervisor_of


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs under test: a shell starts what it runs in the background with SIGINT ignored, and
    that is inherited.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for the real Codex is marked so."""
    for item in items:
        if "real_codex" in getattr(item, "fixturenames", ()):
            item.add_marker("real_codex")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse to start the real Codex where it could reach the outside network."""
    if item.get_closest_marker("real_codex") is not None and (reason := _network_is_open(item.config)):
        pytest.fail(reason, pytrace=False)


_NETWORK = pytest.StashKey[str]()


def _network_is_open(config: pytest.Config) -> str:
    """Why the real Codex must not run here, or nothing."""
    if _NETWORK not in config.stash:
        outside = outside_interfaces() if sys.platform == "linux" else []
        config.stash[_NETWORK] = (
            "tests with the real Codex run only where there is no network but loopback, and here is "
            f"{', '.join(outside)}. Run `make test`, or `tests/support/loopback_only.py pytest …`, "
            "or leave them out with `-m 'not real_codex'`."
            if outside and namespaces_possible()
            else ""
        )
    return config.stash[_NETWORK]


@pytest.fixture(scope="session", autouse=True)
def grpc_runtime() -> None:
    """gRPC's own poller: four descriptors that live as long as the process, made before anything is counted."""
    grpc.aio.init_grpc_aio()


@pytest.fixture(autouse=True)
def leak_check(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test leaves as many open files, child processes and asyncio tasks as it found."""
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        # First, so that the event loop with its files is there before and after.
        request.getfixturevalue("task_leak_check")
    files, children = open_files(), child_processes()
    yield
    assert_nothing_left(files, children)


@pytest.fixture
async def task_leak_check() -> AsyncIterator[None]:
    """The part of `leak_check` that needs the test's event loop."""
    before = asyncio.all_tasks()
    yield
    await assert_no_tasks_left(before)


@pytest.fixture
async def stub_model() -> AsyncIterator[StubModel]:
    """A stub model server in this process."""
    async with StubModel() as stub:
        yield stub


@pytest.fixture
def codex_home(stub_model: StubModel) -> Iterator[CodexHome]:
    """A home for the real Codex, configured for `stub_model`."""
    with codex_home_below() as made:
        made.configure(stub_model.base_url)
        yield made


@pytest.fixture
def fake_codex(codex_home: CodexHome) -> FakeCodex:
    """The scripted stand-in for Codex, for `codex_home`."""
    return FakeCodex(codex_home.root / "bin", codex_home.codex_home)


@pytest.fixture
def short_runtime_dir() -> Iterator[Path]:
    """A private directory whose path leaves room for Unix sockets."""
    with short_private_dir() as made:
        yield made


@pytest.fixture
async def supervisor(
    codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path
) -> AsyncIterator[RunningSupervisor]:
    """A running supervisor with the real Codex and `stub_model`."""
    async with supervisor_of(codex_home, short_runtime_dir, {"codex": {"binary": str(real_codex)}}) as made:
        yield made


@pytest.fixture(scope="session")
def real_codex() -> Path:
    """The native Codex binary: the one of the PyPI wheel, else `codex` on PATH."""
    try:
        from codex_cli_bin import bundled_codex_path

        return Path(bundled_codex_path())
    except (ImportError, FileNotFoundError):
        pass
    return Path(shutil.which("codex") or leave_out("no Codex here: pip install openai-codex-cli-bin"))


@pytest.fixture(scope="session")
def real_claude() -> Path:
    """The real Claude Code."""
    return claude_program() or leave_out(
        "no Claude Code here: `make test` installs it into build/claude where there is npm"
    )


@pytest.fixture(scope="session")
def codex_schema(real_codex: Path) -> CodexSchema:
    """The protocol's schema as the installed Codex generates it."""
    with codex_home_below() as made:
        return CodexSchema.generate(real_codex, made)
