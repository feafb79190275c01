"""The supervisor itself: version, configuration, drain, doctor, logs, health, reflection, privacy, its metrics page."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
import yaml
from codex_control.v1 import admin_pb2, instances_pb2, outcome_pb2
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.integration.daemon.talking import is_error
from tests.support.model_script import Command, Status, Text, Usage
from tests.support.stub_model import StubModel
from tests.support.supervisor import Client, RunningSupervisor, ref
from tests.support.waiting import wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAEMON_SETTINGS = {"log": {"level": "debug"}, "turns": {"queue_limit": 0}}

SERVICES = {f"codex_control.v1.{name}" for name in ("Instances", "Turns", "History", "Claude", "Admin")}


async def version(client: Client) -> admin_pb2.VersionResponse:
    """What runs."""
    found: admin_pb2.VersionResponse = await client.admin.Version(admin_pb2.VersionRequest())
    return found


async def test_version(client: Client, daemon: RunningSupervisor, real_codex: Path) -> None:
    found = await version(client)
    assert found.pid == daemon.pid
    assert found.codex_path == str(real_codex)
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", found.codex_version)
    assert found.config_path == str(daemon.config_file)
    assert found.state_dir == str(daemon.state_dir)
    assert found.metrics_url.startswith("http://127.0.0.1:")
    assert not found.degraded
    assert not found.demo_model
    assert not found.draining


async def test_health_and_reflection_answer(client: Client) -> None:
    health: Any = health_pb2_grpc.HealthStub(client.channel)
    for service in ("", *SERVICES):
        reply = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await health.Check(health_pb2.HealthCheckRequest(service="nonsense"))
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND
    watching = health.Watch(health_pb2.HealthCheckRequest())
    assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
    watching.cancel()

    async def questions() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    stub: Any = reflection_pb2_grpc.ServerReflectionStub(client.channel)  # type: ignore[arg-type]
    async for answer in stub.ServerReflectionInfo(questions()):
        names = {service.name for service in answer.list_services_response.service}
        assert names >= SERVICES | {"grpc.health.v1.Health"}
    # A method that does not exist is said to be so.
    nonsense: Any = client.channel.unary_unary("/codex_control.v1.Admin/Nonsense")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await nonsense(b"")
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_what_the_service_keeps_is_private(client: Client, daemon: RunningSupervisor, name: str) -> None:
    await client.ask("private", name)
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(daemon.socket.parent.stat().st_mode) == 0o700
    for root in (daemon.state_dir, daemon.socket.parent):
        assert stat.S_IMODE(root.stat().st_mode) == 0o700
        for directory, _, files in os.walk(root):
            for path in (Path(directory), *(Path(directory) / file for file in files)):
                if not path.is_symlink():
                    assert path.lstat().st_mode & 0o077 == 0, path
    threads = list(daemon.home.codex_home.rglob("rollout-*"))
    assert threads
    for path in threads:
        assert path.stat().st_mode & 0o077 == 0, path
    assert "stub-key" not in daemon.log()


async def test_a_good_reload_holds_at_once(client: Client, daemon: RunningSupervisor, name: str) -> None:
    written = daemon.config_file.read_text()
    settings = yaml.safe_load(written)
    try:
        settings["profiles"] = {"new": {"effort": "high"}}
        settings["turns"] = {"queue_limit": 0, "prompt_limit": 10}
        settings["metrics"] = {"port": 1}
        daemon.config_file.write_text(yaml.safe_dump(settings))
        reply = await client.admin.Reload(admin_pb2.ReloadRequest())
        assert set(reply.applied) == {"profiles.new", "turns.prompt_limit"}
        assert list(reply.needs_restart) == ["metrics.port"]
        assert (await client.ask("short", name, profile="new")).profile == "new"
        async with is_error("RESOURCE_EXHAUSTED") as refusal:
            await client.ask("longer than ten characters", name)
        assert "turns.prompt_limit" in refusal.why
        found = await version(client)
        assert found.codex_version
        assert found.metrics_url
    finally:
        daemon.config_file.write_text(written)
        await client.admin.Reload(admin_pb2.ReloadRequest())
    assert (await client.ask("longer than ten characters", name)).outcome == outcome_pb2.OUTCOME_COMPLETED


BAD_FILES = {
    "unknown key": ("turns:\n  queue_limt: 3\n", ("line 2", "queue_limt", "queue_limit")),
    "several": (
        "turns:\n  queue_limit: -1\n  timeoutt: 1\n",
        ("has 2 mistakes: line 3, column 3: there is no key `turns.timeoutt`", "; line 2, column 16: "),
    ),
    "wrong type": ("turns:\n  queue_limit: many\n", ("line 2", "turns.queue_limit")),
    "out of bounds": ("turns:\n  queue_limit: -1\n", ("line 2", "turns.queue_limit")),
    "no YAML": ("turns: [\n", ("line ",)),
    "unknown effort": ("profiles:\n  mine:\n    effort: hihg\n", ("line 3", "effort", "high")),
}


@pytest.mark.parametrize("fault", BAD_FILES)
async def test_a_bad_reload_names_its_place_and_changes_nothing(
    client: Client, daemon: RunningSupervisor, fault: str
) -> None:
    text, expected = BAD_FILES[fault]
    written = daemon.config_file.read_text()
    before = await client.admin.Profiles(admin_pb2.ProfilesRequest())
    try:
        daemon.config_file.write_text(text)
        async with is_error("FAILED_PRECONDITION") as refusal:
            await client.admin.Reload(admin_pb2.ReloadRequest())
        for words in expected:
            assert words in refusal.message
        assert str(daemon.config_file) in refusal.message
        # By signal there is nobody to answer: the service says it where people look.
        os.kill(daemon.pid, signal.SIGHUP)

        async def says_so() -> bool:
            degraded = (await version(client)).degraded
            return any("was not taken" in sentence and expected[0] in sentence for sentence in degraded)

        await wait_for(says_so, what="the service to say what is wrong")
        assert await client.admin.Profiles(admin_pb2.ProfilesRequest()) == before
    finally:
        daemon.config_file.write_text(written)
    os.kill(daemon.pid, signal.SIGHUP)

    async def is_well() -> bool:
        return not (await version(client)).degraded

    await wait_for(is_well, what="the service to be well again")


async def test_a_drain_lets_turns_end_and_takes_no_new_ones(client: Client, model: StubModel, name: str) -> None:
    gate = model.gate()
    model.script(gate, Text("last"))
    asked = asyncio.ensure_future(client.ask("last", name))
    await gate.reached()
    short = admin_pb2.DrainRequest(timeout=Duration(nanos=50_000_000))
    assert (await client.admin.Drain(short)).remaining == 1
    assert (await version(client)).draining
    async with is_error("FAILED_PRECONDITION") as refusal:
        await client.ask("too late", name)
    assert "drain" in refusal.what
    assert "--resume" in refusal.next_step
    draining = asyncio.ensure_future(client.admin.Drain(admin_pb2.DrainRequest()))
    gate.release()
    assert (await asyncio.wait_for(draining, 20)).remaining == 0
    assert (await asked).answer == "last"
    await client.admin.Drain(admin_pb2.DrainRequest(resume=True))
    assert not (await version(client)).draining
    assert (await client.ask("again", name)).answer == "stub: again"


async def test_the_doctor_looks_as_the_service_sees_it(client: Client, daemon: RunningSupervisor) -> None:
    checks = list((await client.admin.Doctor(admin_pb2.DoctorRequest(), timeout=30)).checks)
    assert len(checks) >= 8
    for check in checks:
        assert check.name
        assert check.found
        assert check.status != admin_pb2.CHECK_STATUS_UNSPECIFIED
        # What is wrong has a fix.
        assert (check.status == admin_pb2.CHECK_STATUS_OK) or check.fix, check
    told = " ".join(f"{check.name} {check.found}" for check in checks)
    assert str(daemon.home.codex_home) in told
    assert "stub-key" not in told


async def test_logs_are_read_back_and_followed(
    client: Client, model: StubModel, name: str, daemon: RunningSupervisor
) -> None:
    await client.ask("logged", name)
    one = admin_pb2.LogsRequest(instance=ref(name), tail=3)
    records = [record async for record in client.admin.Logs(one)]
    assert len(records) == 3
    for record in records:
        assert record.fields["instance"] == name
        assert record.level in ("debug", "info", "warning", "error")
        assert record.at.seconds > 0
    everything = [record async for record in client.admin.Logs(admin_pb2.LogsRequest(tail=10_000))]
    assert everything[0].message != everything[-1].message
    assert "ready" in {record.message for record in everything}

    following = client.admin.Logs(admin_pb2.LogsRequest(instance=ref(name), tail=1, follow=True))
    assert (await following.read()).fields["instance"] == name
    await client.instances.Stop(instances_pb2.StopRequest(instance=ref(name)), timeout=20)
    while True:
        record = await asyncio.wait_for(following.read(), 10)
        if record.fields.get("state") == "stopped":
            break
    following.cancel()

    async with is_error("NOT_FOUND"):
        async for _ in client.admin.Logs(admin_pb2.LogsRequest(instance=ref("nobody"))):
            pass


async def test_the_error_output_of_a_child(client: Client, name: str, daemon: RunningSupervisor) -> None:
    await client.ask("hello", name)
    with (daemon.state_dir / "log" / "children" / f"{name}.log").open("a") as log:
        log.write("a line of its own\n")
    request = admin_pb2.LogsRequest(instance=ref(name), stderr=True)
    lines = [record.message async for record in client.admin.Logs(request)]
    assert lines[-1] == "a line of its own"
    async with is_error("INVALID_ARGUMENT") as refusal:
        async for _ in client.admin.Logs(admin_pb2.LogsRequest(stderr=True)):
            pass
    assert "instance" in refusal.what


async def scrape(client: Client) -> dict[str, float]:
    """The metrics page as numbers by name and labels."""
    url = (await version(client)).metrics_url
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200
        text = await response.text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_the_metrics_move_with_what_happens(client: Client, model: StubModel, name: str) -> None:
    before = await scrape(client)

    async def moved(*labelled: str) -> None:
        after = await scrape(client)
        for metric in labelled:
            full = f"codex_supervisor_{metric}"
            assert after.get(full, 0) > before.get(full, 0), f"{full} did not move"

    await client.instances.Configure(
        instances_pb2.ConfigureRequest(instance=ref(name), approval_policy=instances_pb2.APPROVAL_POLICY_AUTO)
    )
    model.script(Command("true", {"sandbox_permissions": "require_escalated", "justification": "x"}))
    model.script(Text("done"), Usage(10, 2, 3, 1))
    assert (await client.ask("counted", name)).outcome == outcome_pb2.OUTCOME_COMPLETED
    model.script(Status(401), times=None)
    assert (await client.ask("failing", name)).outcome == outcome_pb2.OUTCOME_FAILED
    model.reset()
    gate = model.gate()
    model.script(gate, Text("slow"))
    slow = asyncio.ensure_future(client.ask("slow", name))
    await gate.reached()
    async with is_error("RESOURCE_EXHAUSTED"):
        await client.ask("no room", name)
    child = (await client.instance(name)).child.pid
    os.kill(child, signal.SIGKILL)
    await model.wait_for_requests(model.received + 1)
    gate.release()
    assert (await slow).recoveries == 1

    await moved(
        'turns_total{cause="none",outcome="completed"}',
        'turns_total{cause="auth",outcome="failed"}',
        'ask_seconds_count{outcome="completed"}',
        "queue_wait_seconds_count",
        "first_event_seconds_count",
        "first_text_seconds_count",
        'tokens_total{kind="input"}',
        'tokens_total{kind="cached_input"}',
        'tokens_total{kind="output"}',
        'tokens_total{kind="reasoning_output"}',
        "queue_rejections_total",
        'approvals_total{by="policy",decision="accept"}',
        'child_starts_total{result="ready"}',
        "start_seconds_count",
        'restarts_total{reason="child_died"}',
        'recoveries_total{action="continue"}',
        "recovery_seconds_count",
        'rpc_calls_total{code="OK",method="codex_control.v1.Turns/Ask"}',
        'rpc_calls_total{code="RESOURCE_EXHAUSTED",method="codex_control.v1.Turns/Ask"}',
        'rpc_seconds_count{method="codex_control.v1.Turns/Ask"}',
        "journal_write_seconds_count",
        "provider_retries_total",
        "turns_accepted_total",
    )
    after = await scrape(client)
    states = {name: value for name, value in after.items() if name.startswith("codex_supervisor_instances{")}
    assert sum(states.values()) == len((await client.instances.List(instances_pb2.ListInstancesRequest())).instances)
    assert after["codex_supervisor_degraded"] == 0
