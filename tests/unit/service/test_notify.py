"""The datagrams that systemd would get, read from a real socket."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from codex_control.service import notify
from codex_control.service.notify import Notifier, feed_watchdog, watchdog_limit_s

from tests.support.waiting import wait_for


class FixedClock:
    """Stands still."""

    def monotonic(self) -> float:
        return 12.5

    def wall_ns(self) -> int:
        raise AssertionError("systemd is told monotonic time")


class Manager:
    """The receiving end: systemd's socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)

    def read(self) -> str:
        """The next datagram, as systemd takes it: UTF-8."""
        return self.socket.recv(4096).decode()

    def silent(self) -> bool:
        try:
            self.socket.recv(4096)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self.socket.close()
        self.path.unlink()


@pytest.fixture
def manager(short_runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    made = Manager(short_runtime_dir / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(made.path))
    yield made
    made.socket.close()


@pytest.fixture
def notifier() -> Iterator[Notifier]:
    made = Notifier(FixedClock())
    yield made
    made.close()


def test_each_message_arrives_as_systemd_reads_it(manager: Manager, notifier: Notifier) -> None:
    assert notifier.ready("2 instances")
    assert manager.read() == "READY=1\nSTATUS=2 instances"
    assert notifier.status("3 instances")
    assert manager.read() == "STATUS=3 instances"
    assert notifier.reloading("new version")
    assert manager.read() == "RELOADING=1\nMONOTONIC_USEC=12500000\nSTATUS=new version"
    assert notifier.needs_time(30.5, "recovering")
    assert manager.read() == "EXTEND_TIMEOUT_USEC=30500000\nSTATUS=recovering"
    assert notifier.stopping("stopping 2 children")
    assert manager.read() == "STOPPING=1\nSTATUS=stopping 2 children"
    assert notifier.alive()
    assert manager.read() == "WATCHDOG=1"


def test_status_stays_one_line_of_utf8_and_within_the_limit(manager: Manager, notifier: Notifier) -> None:
    assert notifier.status("größer…\nREADY=1\tx")
    assert manager.read() == "STATUS=größer… READY=1 x"
    assert notifier.status("ü" * 5000)
    assert len(manager.read().removeprefix("STATUS=").encode()) == notify.MAX_STATUS_BYTES


def test_without_a_manager_nothing_happens(notifier: Notifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notifier.ready("here")
    monkeypatch.setenv("NOTIFY_SOCKET", "")
    assert not notifier.ready("here")


def test_lost_datagrams_are_noticed_and_logged_once(
    manager: Manager, notifier: Notifier, caplog: pytest.LogCaptureFixture
) -> None:
    assert notifier.alive()
    manager.close()
    with caplog.at_level(logging.WARNING):
        assert not notifier.alive()
        assert not notifier.alive()
    assert [record.message for record in caplog.records] == ["service_manager_not_told"]
    assert "silent_since=12.5" in repr(notifier)


def test_a_restarted_manager_is_found_again(manager: Manager, notifier: Notifier) -> None:
    assert notifier.alive()
    manager.close()
    successor = Manager(manager.path)
    try:
        assert notifier.status("still here")
        assert successor.read() == "STATUS=still here"
    finally:
        successor.socket.close()


def test_a_busy_manager_does_not_stop_us(manager: Manager, notifier: Notifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "SEND_TIMEOUT_S", 0.01)
    sent = 0
    while notifier.alive():
        sent += 1
        assert sent < 10_000, "the queue of a Unix datagram socket has an end"
    assert sent > 0


@pytest.mark.parametrize(
    ("environ", "limit_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "41"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "42"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_limit(environ: dict[str, str], limit_s: float | None) -> None:
    assert watchdog_limit_s(environ, pid=41) == limit_s


def test_watchdog_pid_defaults_to_ours() -> None:
    assert watchdog_limit_s({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}) == 1.0


async def test_watchdog_is_fed_only_while_the_store_answers(manager: Manager, notifier: Notifier) -> None:
    async def answers() -> None:
        asked.append(trouble[0])
        if trouble[0] == "error":
            raise OSError("disk")
        if trouble[0] == "hang":
            await asyncio.Event().wait()

    async def asked_about(kind: str, times: int) -> None:
        await wait_for(lambda: asked.count(kind) >= times, what=f"{times} times {kind}")

    asked: list[str] = []
    trouble = ["none"]
    async with asyncio.TaskGroup() as tasks:
        feeding = tasks.create_task(feed_watchdog(notifier, 0.03, answers))
        await wait_for(lambda: asked.count("none") >= 3, what="three answers")
        assert manager.read() == "WATCHDOG=1"
        for kind in ("error", "hang"):
            trouble[0] = kind
            await asked_about(kind, 1)
            while not manager.silent():
                pass
            await asked_about(kind, 4)
            assert manager.silent()
        trouble[0] = "none"
        before = asked.count("none")
        await wait_for(lambda: asked.count("none") > before + 1, what="it to answer again")
        assert manager.read() == "WATCHDOG=1"
        feeding.cancel()
