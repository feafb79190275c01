"""A real Prometheus watches a supervisor at work and in trouble: every panel shows something, every rule evaluates."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
import yaml
from codex_control.v1 import admin_pb2, instances_pb2, outcome_pb2, tasks_pb2

from tests.faults.watching import asking, kill_child
from tests.integration.task.running import QUICK, ended, submit
from tests.support.codex_home import REPOSITORY, codex_home_below, short_private_dir
from tests.support.leaks import assert_nothing_left, child_processes, open_files
from tests.support.model_script import Command, Cut, Stall, Status, Text, Usage
from tests.support.prometheus import DEPLOYED, SCRAPE_INTERVAL_S, Prometheus, prometheus_of
from tests.support.stub_model import StubModel
from tests.support.supervisor import Client, RunningSupervisor, ref, supervisor_of
from tests.support.waiting import wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

RULES = DEPLOYED / "codex-supervisor.rules.yml"
DASHBOARDS = sorted((REPOSITORY / "deploy" / "grafana").glob("*.json"))

# What Grafana would put in: four scrapes at least.
VARIABLES = {"$__rate_interval": "4s", "$supervisor": ".*"}

# Nothing of this kind happens in the test: queries of these show zeros. All others show more.
QUIET = (
    "codex_supervisor_adoptions_total",
    "codex_supervisor_degraded",
    "codex_supervisor_events_dropped_total",
    "codex_supervisor_probe_misses_total",
    "codex_supervisor_stalls_total",
    "codex_supervisor_store_quarantines_total",
    'state="failed"',
)

FAILED_TURNS = 'codex_supervisor_ask_seconds_count{outcome="failed"}'

ESCALATED = {"sandbox_permissions": "require_escalated", "justification": "to see what happens"}


@pytest.fixture(scope="module", autouse=True)
def leak_check() -> Iterator[None]:
    """Around the whole file: its supervisor and its Prometheus live as long."""
    files, children = open_files(), child_processes()
    yield
    assert_nothing_left(files, children)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(leak_check: None, real_codex: Path) -> AsyncIterator[tuple[Prometheus, float]]:
    """A Prometheus that has seen a supervisor at work and in trouble, and since when."""
    settings = {
        "codex": {"binary": str(real_codex)},
        "turns": {"queue_limit": 1},
        "instances": {"stop_timeout": 2, "idle_after": 1},
        "tasks": {**QUICK, "heartbeat_interval": 0.2, "stall_after": 1},
    }
    async with StubModel() as model:
        with codex_home_below() as home, short_private_dir() as runtime_dir:
            home.configure(model.base_url, provider="request_max_retries = 0\nstream_max_retries = 1")
            async with supervisor_of(home, runtime_dir, settings) as supervisor:
                version = await supervisor.client.admin.Version(admin_pb2.VersionRequest())
                target = re.sub(r"^http://|/metrics$", "", version.metrics_url)
                async with prometheus_of(home.root, target) as prometheus:
                    started = time.time()
                    await wait_for_value(prometheus, 'up{job="codex-supervisor"}', 1)
                    # Twice, looked at in between: a series that comes into being has no rate before its second step.
                    for number in (1, 2):
                        await work_and_trouble(supervisor, model, prometheus)
                        # One that the provider refused, and one of the task.
                        await wait_for_value(prometheus, FAILED_TURNS, 2 * number)
                    yield prometheus, started


async def wait_for_value(prometheus: Prometheus, query: str, expected: float) -> None:
    async def reached() -> bool:
        return await prometheus.value(query) == expected

    await wait_for(reached, 20, f"{query} to be {expected}")


async def work_and_trouble(supervisor: RunningSupervisor, model: StubModel, prometheus: Prometheus) -> None:
    """Everything that a dashboard shows, once."""
    client = supervisor.client
    await asyncio.gather(answered(client, model), recovered(supervisor, model), approval_refused(client, model))
    await provider_retried(client, model)
    await provider_failed(client, model)
    await task_stalled(supervisor, model)
    await queue_full(supervisor, model, prometheus)
    await client.instances.Restart(instances_pb2.RestartRequest(instance=ref("worker")), timeout=20)
    await client.instances.Stop(instances_pb2.StopRequest(instance=ref("worker")), timeout=20)
    await client.admin.Reload(admin_pb2.ReloadRequest())
    await client.wait_for_state(instances_pb2.INSTANCE_STATE_HIBERNATED, "asker")


async def answered(client: Client, model: StubModel) -> None:
    usage = Usage(input_tokens=100, cached_tokens=50, output_tokens=20, reasoning_tokens=10)
    model.script(usage, Text("an answer"), when="a plain question")
    turn = await client.ask("a plain question", "worker")
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED


async def recovered(supervisor: RunningSupervisor, model: StubModel) -> None:
    gate = model.gate()
    model.script(Text("half, "), gate.step, Text("never sent"), when="an unlucky question")
    async with asking(supervisor, "an unlucky question", "victim") as asked:
        await asked.reached("text")
        await kill_child(supervisor, "victim")
        turn = await asked.turn()
    gate.release()
    assert (turn.outcome, turn.recoveries) == (outcome_pb2.OUTCOME_COMPLETED, 1)


async def approval_refused(client: Client, model: StubModel) -> None:
    model.script(Command("echo it-ran", ESCALATED), when="run it", continues=False)
    events = await client.events("run it", "asker")
    assert [event.approval_resolved.by for event in events if event.HasField("approval_resolved")] == [
        "nobody attached"
    ]


async def provider_retried(client: Client, model: StubModel) -> None:
    model.script(Text("cut "), Cut(), when="again")
    turn = await client.ask("again", "worker")
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED, turn.error


async def provider_failed(client: Client, model: StubModel) -> None:
    model.script(Status(401, message="no such key"), when="refused", times=None)
    turn = await client.ask("refused", "worker")
    assert turn.outcome == outcome_pb2.OUTCOME_FAILED


async def task_stalled(supervisor: RunningSupervisor, model: StubModel) -> None:
    model.script(Stall(), when="a stalling task")
    task_id = str(uuid.uuid4())
    # A place that no file can be written to.
    await submit(supervisor, "a stalling task", task_id, state_dir="/proc/nowhere")
    task = await ended(supervisor, task_id)
    assert (task.state, task.attempt) == (tasks_pb2.TASK_STATE_DONE, 2)


async def queue_full(supervisor: RunningSupervisor, model: StubModel, prometheus: Prometheus) -> None:
    gate = model.gate()
    model.script(gate.step, Text("done"), when="first")
    async with asking(supervisor, "first", "worker") as first:
        await first.reached("started")
        async with asking(supervisor, "second", "worker") as second:
            await second.reached("queued")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await supervisor.client.ask("third", "worker")
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            # Children, running and waiting turns are sampled every few seconds.
            await wait_for_value(prometheus, "codex_supervisor_queued_turns", 1)
            gate.release()
            await first.turn()
            await second.turn()


# --- what is seen ---------------------------------------------------------------------------------------------------


def queries() -> Iterator[tuple[str, str]]:
    """Each query of each panel: where it is, and the expression."""
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield f"{file.stem}: {panel['title']} {target['refId']}", target["expr"]


QUERIES = dict(queries())


@pytest.mark.parametrize("expr", QUERIES.values(), ids=QUERIES)
async def test_every_panel_shows_something(watched: tuple[Prometheus, float], expr: str) -> None:
    prometheus, started = watched
    for variable, value in VARIABLES.items():
        expr = expr.replace(variable, value)
    assert "$" not in expr, "a variable that the test does not know"

    async def numbers() -> list[float]:
        found = await prometheus.get("query_range", query=expr, start=started, end=time.time(), step=SCRAPE_INTERVAL_S)
        values = [float(value) for line in found["result"] for _, value in line["values"]]
        return [value for value in values if math.isfinite(value)]

    quiet = any(name in expr for name in QUIET)

    async def shown() -> bool:
        found = await numbers()
        return bool(found) and (quiet or max(found) > 0)

    await wait_for(shown, 20, f"{expr} to show {'a number' if quiet else 'more than zeros'}")


async def test_what_is_quiet_is_queried() -> None:
    assert [name for name in QUIET if not any(name in expr for expr in QUERIES.values())] == []


async def test_every_rule_evaluates_without_an_error(watched: tuple[Prometheus, float]) -> None:
    prometheus, _ = watched

    async def rules() -> list[dict[str, Any]]:
        found = [rule for group in (await prometheus.get("rules"))["groups"] for rule in group["rules"]]
        return found if all(rule["health"] != "unknown" for rule in found) else []

    found = await wait_for(rules, 20, "every rule to be evaluated")
    expected = [
        rule.get("record") or rule["alert"]
        for name in yaml.safe_load((DEPLOYED / "prometheus.yml").read_text())["rule_files"]
        for group in yaml.safe_load((DEPLOYED / name).read_text())["groups"]
        for rule in group["rules"]
    ]
    assert sorted(rule["name"] for rule in found) == sorted(expected)
    assert [rule for rule in found if rule["health"] != "ok" or rule.get("lastError")] == []


async def test_what_is_recorded_has_values(watched: tuple[Prometheus, float]) -> None:
    prometheus, started = watched
    names = [rule["record"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    for name in names:

        async def has_values(name: str = name) -> bool:
            found = await prometheus.get("query_range", query=name, start=started, end=time.time(), step=1)
            return any(math.isfinite(float(value)) for line in found["result"] for _, value in line["values"])

        await wait_for(has_values, 20, f"{name} to have a value")


async def test_a_full_queue_is_an_alert_that_says_what_to_do(watched: tuple[Prometheus, float]) -> None:
    prometheus, _ = watched

    async def alert() -> dict[str, Any] | None:
        alerts = (await prometheus.get("alerts"))["alerts"]
        return next((one for one in alerts if one["labels"]["alertname"] == "CodexQueueFull"), None)

    found = await wait_for(alert, 20, "CodexQueueFull")
    assert found is not None
    assert found["state"] == "firing"
    assert "turns.queue_limit" in found["annotations"]["description"]
    # Each alert that is active by now has its numbers filled in.
    for active in (await prometheus.get("alerts"))["alerts"]:
        for text in active["annotations"].values():
            assert not re.search(r"\{\{|<error|<no value>|%!", text), active
