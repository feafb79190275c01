"""One child of the real Codex: spawned, connected, asked, recovered, adopted."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from codex_control.errors import ChildFailed, CodexUnusable
from codex_supervisor.child import protocol
from codex_supervisor.child.exitwatch import ExitStatus
from codex_supervisor.child.identity import find_by_token, verify
from codex_supervisor.child.locate import CodexBinary
from codex_supervisor.child.requests import AppServerError
from codex_supervisor.child.spawn import ChildSpec, adopt, remove_socket, spawn

from tests.integration.child.conftest import Child, Start
from tests.support.codex_home import CodexHome
from tests.support.model_script import Bulk, Command, Text
from tests.support.stub_model import StubModel
from tests.support.waiting import wait_for


async def test_an_ask(start: Start, codex_home: CodexHome, stub_model: StubModel, codex: CodexBinary) -> None:
    stub_model.script(Text("it is so", deltas=4))
    async with start() as child:
        assert child.server.codex_version == codex.version
        thread = await child.start_thread(codex_home.workspace)
        turn = await child.wait_for_turn(await child.start_turn(thread, "how is it?"))
        assert turn.status == "completed"
        [answer] = turn.decode_items()
        assert isinstance(answer, protocol.AgentMessageItem)
        assert answer.text == "it is so"
        deltas = child.of(protocol.AgentMessageDeltaNotification)
        assert "".join(delta.delta for delta in deltas) == "it is so"
        completed = [note.decode_item() for note in child.of(protocol.ItemCompletedNotification)]
        assert isinstance(completed[0], protocol.UserMessageItem)
        assert completed[0].client_id == "id of how is it?"
        assert child.of(protocol.ThreadTokenUsageUpdatedNotification)
        # Nothing arrived that we neither use nor opted out of, and nothing that we could not read.
        assert child.server.malformed_total == 0
        assert [note for note in child.notifications if isinstance(note, protocol.OtherNotification)] == []


async def test_every_method_that_we_use(start: Start, codex_home: CodexHome, stub_model: StubModel) -> None:
    async with start() as child:
        thread = await child.start_thread(codex_home.workspace)
        first = await child.start_turn(thread, "one")
        await child.wait_for_turn(first)
        second = await child.start_turn(thread, "two")
        await child.wait_for_turn(second)
        request = child.server.request
        page = await request(
            "thread/turns/list",
            protocol.ThreadTurnsListParams(thread_id=thread, limit=1, items_view="full"),
            protocol.ThreadTurnsListResponse,
            5,
        )
        assert [turn.id for turn in page.data] == [second]  # the newest first
        assert [type(item) for item in page.data[0].decode_items()] == [
            protocol.UserMessageItem,
            protocol.AgentMessageItem,
        ]
        again = await child.start_turn(thread, "")  # runs the model on the history as it is
        assert (await child.wait_for_turn(again)).status == "completed"
        assert stub_model.requests[-1].user_texts[-1] == "two"
        await request(
            "thread/revert",
            protocol.ThreadRevertParams(thread_id=thread, before_turn_id=second),
            protocol.ThreadRevertResponse,
            5,
        )
        read = await request(
            "thread/read",
            protocol.ThreadReadParams(thread_id=thread, include_turns=True),
            protocol.ThreadReadResponse,
            5,
        )
        assert [turn.id for turn in read.thread.turns] == [first]
        resumed = await request(
            "thread/resume",
            protocol.ThreadResumeParams(thread_id=thread, exclude_turns=True),
            protocol.ThreadResumeResponse,
            5,
        )
        assert (resumed.thread.id, resumed.thread.turns) == (thread, [])
        await request(
            "thread/backgroundTerminals/clean",
            protocol.ThreadBackgroundTerminalsCleanParams(thread_id=thread),
            protocol.Empty,
            5,
        )
        await child.server.ping(5)
        left = await request(
            "thread/unsubscribe",
            protocol.ThreadUnsubscribeParams(thread_id=thread),
            protocol.ThreadUnsubscribeResponse,
            5,
        )
        assert left.status == "unsubscribed"


async def test_who_is_logged_in(start: Start, codex_home: CodexHome) -> None:
    async def account(child: Child) -> protocol.GetAccountResponse:
        return await child.server.request("account/read", protocol.GetAccountParams(), protocol.GetAccountResponse, 5)

    async with start() as child:  # with a provider of its own
        assert await account(child) == protocol.GetAccountResponse(requires_openai_auth=False)
    codex_home.config_file.write_text("[features]\nplugins = false\n[analytics]\nenabled = false\n")
    async with start() as child:
        assert await account(child) == protocol.GetAccountResponse(requires_openai_auth=True)


async def test_steer_and_interrupt(start: Start, codex_home: CodexHome, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("so far"), gate)
    async with start() as child:
        thread = await child.start_thread(codex_home.workspace)
        turn = await child.start_turn(thread, "go")
        await gate.reached()
        steered = await child.server.request(
            "turn/steer",
            protocol.TurnSteerParams(
                thread_id=thread, expected_turn_id=turn, input=[protocol.TextInput(text="faster")]
            ),
            protocol.TurnSteerResponse,
            5,
        )
        assert steered.turn_id == turn
        await child.server.request(
            "turn/interrupt", protocol.TurnInterruptParams(thread_id=thread, turn_id=turn), protocol.Empty, 10
        )
        assert (await child.wait_for_turn(turn)).status == "interrupted"
        gate.release()


async def test_a_review(start: Start, codex_home: CodexHome) -> None:
    async with start() as child:
        thread = await child.start_thread(codex_home.workspace)
        review = await child.server.request(
            "review/start",
            protocol.ReviewStartParams(
                thread_id=thread, target={"type": "custom", "instructions": "look"}, delivery="inline"
            ),
            protocol.ReviewStartResponse,
            10,
        )
        assert (await child.wait_for_turn(review.turn.id)).status == "completed"
        kinds = {type(note.decode_item()) for note in child.of(protocol.ItemCompletedNotification)}
        assert {protocol.EnteredReviewModeItem, protocol.ExitedReviewModeItem} <= kinds


async def test_an_approval(start: Start, codex_home: CodexHome, stub_model: StubModel) -> None:
    stub_model.script(
        Command("echo hi > made", {"sandbox_permissions": "require_escalated", "justification": "must I?"})
    )
    stub_model.script(Text("done"))
    async with start(overrides=('approval_policy="on-request"', 'sandbox_mode="workspace-write"')) as child:
        thread = await child.start_thread(codex_home.workspace)
        turn = await child.start_turn(thread, "make it")
        await wait_for(lambda: child.requests, 20, "the request for approval")
        [request] = child.requests
        assert isinstance(request.params, protocol.CommandExecutionRequestApprovalParams)
        assert request.params.reason == "must I?"
        await child.server.reply(request.id, protocol.CommandExecutionRequestApprovalResponse(decision="accept"))
        assert (await child.wait_for_turn(turn)).status == "completed"
        assert (codex_home.workspace / "made").read_text() == "hi\n"
        assert child.of(protocol.ServerRequestResolvedNotification)
        commands = [note.decode_item() for note in child.of(protocol.ItemCompletedNotification)]
        [command] = [item for item in commands if isinstance(item, protocol.CommandExecutionItem)]
        assert (command.status, command.exit_code) == ("completed", 0)


async def test_a_flood_is_read(start: Start, codex_home: CodexHome, stub_model: StubModel) -> None:
    stub_model.script(Bulk(5_000_000, deltas=1000))
    async with start() as child:
        thread = await child.start_thread(codex_home.workspace)
        turn = await child.wait_for_turn(await child.start_turn(thread, "much"))
        assert turn.status == "completed"
        assert sum(len(delta.delta) for delta in child.of(protocol.AgentMessageDeltaNotification)) == 5_000_000


async def test_how_it_runs(start: Start, codex_home: CodexHome) -> None:
    async with start() as child:
        pid = child.process.pid
        assert os.getsid(pid) == os.getpgid(pid) == pid
        assert "Umask:\t0077" in Path(f"/proc/{pid}/status").read_text()
        assert str(Path(f"/proc/{pid}/fd/0").readlink()) == "/dev/null"
        assert Path(f"/proc/{pid}/fd/2").readlink() == child.spec.stderr_log
        assert stat.S_IMODE(child.spec.stderr_log.stat().st_mode) == 0o600
        assert verify(child.process.record()) == "same"
        assert find_by_token(child.spec.token)[0] == pid
        sample = child.process.sample()
        assert sample is not None
        assert 10_000_000 < sample.rss_bytes < 1_000_000_000
        assert 0 < sample.cpu_s < 60
        assert f"pid={pid} running" in repr(child.process)
        # What the child itself writes is not for others either.
        await child.start_thread(codex_home.workspace)
        loose = [path for path in codex_home.codex_home.rglob("*.sqlite") if path.stat().st_mode & 0o077]
        assert loose == []


async def test_a_killed_child_says_so(start: Start) -> None:
    async with start() as child:
        os.kill(child.process.pid, signal.SIGKILL)
        assert await asyncio.wait_for(asyncio.shield(child.process.exited), 5) == ExitStatus(signal=9)
        with pytest.raises(ChildFailed, match="the child ended: killed by SIGKILL"):
            await child.server.ping(5)
        assert child.process.sample() is None
        assert "killed by SIGKILL" in repr(child.process)


async def test_adoption(start: Start, codex_home: CodexHome, stub_model: StubModel) -> None:
    """A turn goes on while nobody is connected; who adopts the child gets the rest."""
    gate = stub_model.gate()
    stub_model.script(Text("before, "), gate, Text("after"))
    async with start() as child:
        thread = await child.start_thread(codex_home.workspace)
        turn = await child.start_turn(thread, "go")
        await gate.reached()
        await child.server.close()
        record = child.process.record(started_ns=5)
        child.process.close()

        child.process = adopt(record, stderr_log=child.spec.stderr_log)
        assert "adopted" in repr(child.process)
        child.notifications.clear()
        await child.connect()
        await child.server.request(
            "thread/resume",
            protocol.ThreadResumeParams(thread_id=thread, exclude_turns=True),
            protocol.ThreadResumeResponse,
            5,
        )
        gate.release()
        ended = await child.wait_for_turn(turn)
        assert [item.text for item in ended.decode_items() if isinstance(item, protocol.AgentMessageItem)] == [
            "before, after"
        ]


async def test_only_a_verified_child_is_adopted(start: Start) -> None:
    async with start(connect=False) as child:
        record = child.process.record()
        os.kill(child.process.pid, signal.SIGKILL)
        await asyncio.shield(child.process.exited)
        with pytest.raises(ChildFailed, match="cannot be adopted: it is gone"):
            adopt(record)


async def test_recovery_after_a_kill_in_the_stream(start: Start, codex_home: CodexHome, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("lost"), gate)
    async with start() as child:
        thread = await child.start_thread(codex_home.workspace)
        turn = await child.start_turn(thread, "go")
        await wait_for(lambda: child.of(protocol.AgentMessageDeltaNotification))
        child.process.signal(signal.SIGKILL)
        await asyncio.shield(child.process.exited)
        gate.release()
    async with start() as child:
        await child.server.request(
            "thread/resume",
            protocol.ThreadResumeParams(thread_id=thread, exclude_turns=True),
            protocol.ThreadResumeResponse,
            5,
        )
        page = await child.server.request(
            "thread/turns/list",
            protocol.ThreadTurnsListParams(thread_id=thread, limit=1, items_view="full"),
            protocol.ThreadTurnsListResponse,
            5,
        )
        [last] = page.data
        assert (last.id, last.status) == (turn, "interrupted")
        assert last.decode_items() == [protocol.UserMessageItem(id=last.decode_items()[0].id, client_id="id of go")]


async def test_a_broken_codex_configuration(start: Start, codex_home: CodexHome) -> None:
    codex_home.config_file.write_text("model = \n")
    async with start() as child:
        with pytest.raises(AppServerError, match=r"failed to load configuration: .*config.toml:1:9"):
            await child.start_thread(codex_home.workspace)
        [warning] = [note for note in child.of(protocol.ConfigWarningNotification) if note.path]
        assert warning.summary == "Invalid configuration; using defaults."


async def test_a_broken_override_ends_it_with_its_reason(start: Start) -> None:
    async with start(overrides=("model_provider=nobody",), connect=False) as child:
        with pytest.raises(ChildFailed, match="Codex ended before it was ready: exited with code 1"):
            await child.connect()
        assert child.process.stderr_tail(3) == ["Error: Model provider `nobody` not found"]


@pytest.fixture
def spec(tmp_path: Path, short_runtime_dir: Path) -> ChildSpec:
    """A child that cannot be started."""
    return ChildSpec(
        instance="i",
        generation=1,
        token="t",
        binary=CodexBinary("/nonexistent/codex", "1.0.0", "config"),
        socket=short_runtime_dir / "s",
        environment={},
        overrides=(),
        stderr_log=tmp_path / "log",
        cwd=str(tmp_path),
    )


async def test_a_binary_that_cannot_run(spec: ChildSpec) -> None:
    with pytest.raises(CodexUnusable, match="/nonexistent/codex cannot be run"):
        await spawn(spec)


async def test_a_directory_that_is_gone(tmp_path: Path, spec: ChildSpec, codex: CodexBinary) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(ChildFailed, match=f"cannot work in {gone}"):
        await spawn(replace(spec, binary=codex, cwd=str(gone)))


async def test_a_killed_childs_socket_is_removed(start: Start) -> None:
    async with start() as child:
        target = child.spec.socket.readlink()
        child.process.signal(signal.SIGKILL)
        await asyncio.shield(child.process.exited)
        assert target.is_socket()
        remove_socket(child.spec.socket)
        assert not target.exists()
        assert not child.spec.socket.is_symlink()


def test_nobody_elses_file_is_removed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.touch()
    (tmp_path / "link").symlink_to(precious)
    remove_socket(tmp_path / "link")
    remove_socket(precious)
    assert precious.exists()
    assert not (tmp_path / "link").is_symlink()


async def test_a_process_that_cannot_be_watched_is_not_left_running(
    spec: ChildSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    def no_descriptor_left(pid: int) -> int:
        started.append(pid)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("os.pidfd_open", no_descriptor_left)
    with pytest.raises(ChildFailed, match="Too many open files"):
        await spawn(replace(spec, binary=CodexBinary("/usr/bin/yes", "1.0.0", "config")))
    assert len(started) == 1
    assert not Path(f"/proc/{started[0]}").exists()
