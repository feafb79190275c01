"""A running fake supervisor, and codexctl in this process, in one of its own, and on a terminal."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from codexctl.__main__ import run

from .fake_supervisor import PATIENCE_S, FakeSupervisor
from .task_service import TaskService


@pytest.fixture(scope="session", autouse=True)
def grpc_core() -> Iterator[None]:
    """gRPC's own descriptors, those of its poller: open before a test counts, and until the last one has ended."""
    with tempfile.TemporaryDirectory(prefix="ctl") as folder:
        supervisor = FakeSupervisor(Path(folder, "run", "control.sock"))
        supervisor.start()
        channel = grpc.insecure_channel(f"unix:{supervisor.socket_path}")
        grpc.channel_ready_future(channel).result(PATIENCE_S)
        yield
        channel.close()
        supervisor.stop()


@pytest.fixture
def home() -> Iterator[Path]:
    """A short private directory: a Unix socket's path must fit into 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="ctl") as folder:
        yield Path(folder)


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """The environment of codexctl: nothing of the machine's user but the program search path."""
    (home / "work" / ".git").mkdir(parents=True)
    (home / "work" / ".git" / "HEAD").touch()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "CODEX_SUPERVISOR_RUNTIME_DIR": str(home / "run"),
        "CODEX_SUPERVISOR_STATE_DIR": str(home / "state"),
        "CODEXCTL_NO_START": "1",
    }


@pytest.fixture
def fake(home: Path) -> Iterator[FakeSupervisor]:
    """A fake supervisor that listens."""
    supervisor = FakeSupervisor(home / "run" / "control.sock")
    supervisor.start()
    yield supervisor
    supervisor.stop()


@pytest.fixture
def service(home: Path, environment: dict[str, str]) -> Iterator[TaskService]:
    """The service with tasks, and the embedded engine, that listens."""
    made = TaskService(home)
    made.start()
    yield made
    made.close()


@dataclass(frozen=True)
class Result:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout as one JSON value."""
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        """Stdout as lines of JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


class Ctl:
    """Runs codexctl."""

    def __init__(self, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.environment = environment
        self.directory = Path(environment["HOME"]) / "work"
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Result:
        """Run a command in this process, in a pipe."""
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
        with self._monkeypatch.context() as patch:
            patch.chdir(self.directory)
            patch.setattr(os, "environ", dict(self.environment))
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            code = run(arguments)
        return Result(code, _written(out), _written(err))

    def process(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        defaults = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [sys.executable, "-m", "codexctl", *arguments],
            env=self.environment,
            cwd=self.directory,
            text=True,
            **(defaults | options),
        )

    @contextlib.contextmanager
    def on_terminal(self, *arguments: str) -> Iterator[Terminal]:
        """Start a command on a terminal of its own."""
        main_fd, child_fd = pty.openpty()
        process = subprocess.Popen(
            # No preexec_fn: it would fork this process, and a forked gRPC now and then aborts before it is replaced.
            [sys.executable, "-c", _ON_OWN_TERMINAL, sys.executable, "-m", "codexctl", *arguments],
            env=self.environment | {"COLUMNS": "100", "LINES": "30"},
            cwd=self.directory,
            stdin=child_fd,
            stdout=child_fd,
            stderr=child_fd,
            start_new_session=True,
        )
        os.close(child_fd)
        terminal = Terminal(main_fd, process)
        try:
            yield terminal
        finally:
            process.kill()
            process.wait()
            os.close(main_fd)


# Makes the terminal the one that Ctrl-C is typed on.
_ON_OWN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    raw = stream.buffer
    assert isinstance(raw, io.BytesIO)
    return raw.getvalue().decode()


class Terminal:
    """The person's side of a terminal on which a command runs."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self._descriptor = descriptor
        self.process = process
        self.shown = ""

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._descriptor, text.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.type("\x03")

    def wait_for_text(self, text: str) -> None:
        """Return when `text` was written to the terminal."""
        self._read_until(lambda: text in self.shown, text)

    def wait_for_exit(self) -> int:
        """Return the exit code when the command has ended and all that it wrote is in `shown`."""
        self._read_until(lambda: False, None)
        return self.process.wait(PATIENCE_S)

    def _read_until(self, condition: Callable[[], bool], wanted: str | None) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            ready, _, _ = select.select([self._descriptor], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"not shown in time: {wanted!r}; shown: {self.shown!r}"
            try:
                data = os.read(self._descriptor, 1 << 16)
            except OSError:  # Linux reports EIO when the other side is closed
                data = b""
            if not data:
                assert wanted is None, f"ended without {wanted!r}; shown: {self.shown!r}"
                return
            self.shown += data.decode(errors="replace")


@pytest.fixture
def ctl(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Ctl:
    """Codexctl."""
    return Ctl(environment, monkeypatch)
