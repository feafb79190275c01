"""A recorded child is told from a stranger, on real processes."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator

import msgspec
import pytest
from codex_supervisor.child.identity import find_by_token, verify
from codex_supervisor.child.processes import boot_id, read_process
from codex_supervisor.store.records import ChildRecord

from tests.support.waiting import wait_for_sync


@pytest.fixture
def token() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def child(token: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        ["sleep", "300"], env={"CODEX_SUPERVISOR_CHILD": token, "PATH": os.defpath}, start_new_session=True
    ) as process:
        # Popen returns when the program is loaded; the kernel shows its environment a moment later.
        wait_for_sync(lambda: find_by_token(token) == [process.pid], what="the child to have its own environment")
        yield process
        process.kill()


@pytest.fixture
def record(child: subprocess.Popen[bytes], token: str) -> ChildRecord:
    info = read_process(child.pid)
    assert info is not None
    return ChildRecord(
        token=token,
        instance="i",
        generation=1,
        socket="/s",
        boot_id=boot_id(),
        pid=child.pid,
        start_time=info.start_time,
    )


def changed(record: ChildRecord, **fields: object) -> ChildRecord:
    return msgspec.structs.replace(record, **fields)


def test_the_same(record: ChildRecord) -> None:
    assert verify(record) == "same"


def test_after_a_reboot(record: ChildRecord) -> None:
    assert verify(changed(record, boot_id="another boot")) == "gone"


def test_not_spawned_yet(record: ChildRecord) -> None:
    assert verify(changed(record, pid=0, start_time=0)) == "gone"


def test_a_stranger_with_its_pid(record: ChildRecord) -> None:
    assert verify(changed(record, start_time=record.start_time + 1)) == "stranger"
    assert verify(changed(record, token="another")) == "stranger"


def test_a_zombie_is_gone_and_so_is_nobody(record: ChildRecord, child: subprocess.Popen[bytes]) -> None:
    child.kill()
    wait_for_sync(lambda: (info := read_process(child.pid)) is not None and info.zombie)
    assert verify(record) == "gone"
    child.wait()
    assert verify(record) == "gone"


def test_found_by_its_token(child: subprocess.Popen[bytes], token: str) -> None:
    assert find_by_token(token) == [child.pid]
    assert find_by_token("no such token") == []


def test_what_it_started_comes_after_it(token: str) -> None:
    environ = {"CODEX_SUPERVISOR_CHILD": token, "PATH": os.defpath}
    with subprocess.Popen(["sh", "-c", "sleep 300 & wait"], env=environ, start_new_session=True) as shell:
        pids = wait_for_sync(lambda: found if len(found := find_by_token(token)) == 2 else None)
        assert pids is not None
        assert pids[0] == shell.pid
        os.killpg(shell.pid, 9)
