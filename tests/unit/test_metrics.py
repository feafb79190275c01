"""Names, labels and values of the metrics."""

from __future__ import annotations

import asyncio
import logging
import subprocess
from pathlib import Path

import pytest
from codex_control.service.clock import SystemClock
from codex_supervisor.instance import states
from codex_supervisor.metrics import INSTANCE_STATES, PREFIX, ChildSample, Metrics, metrics_reference
from codex_supervisor.store.records import Cause, Outcome, Usage
from prometheus_client import generate_latest

from tests.support.waiting import wait_for

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"{PREFIX}_{name}", labels)


def use_everything(metrics: Metrics) -> None:
    for outcome in Outcome:
        metrics.turn_ended(
            outcome, Cause.QUOTA, Usage(input=1), total_s=1, queued_s=0, first_event_s=0.1, first_text_s=0.2
        )
    metrics.call_ended("/codex_control.v1.Turns/Ask", "OK", 0.1)
    metrics.set_build("1", "0.163.0")
    metrics.approvals.labels(decision="accept", by="person").inc()


def test_promtool_finds_nothing_to_complain_of(metrics: Metrics, promtool: str) -> None:
    use_everything(metrics)
    page = generate_latest(metrics.registry)
    checked = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, timeout=30, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_everything_is_documented_and_nothing_else(metrics: Metrics) -> None:
    use_everything(metrics)
    documented = {entry.name: entry for entry in metrics.documented}
    served = {}
    for family in metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        served[name] = family
        entry = documented[name]
        assert entry.kind == family.type
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(entry.labels), name
    assert set(served) == set(documented)
    assert all(name.startswith(f"{PREFIX}_") for name in served)


def test_labels_hold_only_the_documented_values(metrics: Metrics) -> None:
    use_everything(metrics)
    documented = {entry.name.removesuffix("_total"): entry.labels for entry in metrics.documented}
    for family in metrics.registry.collect():
        if family.name.removeprefix(f"{PREFIX}_") in ("rpc_calls", "rpc_seconds", "build_info"):
            continue
        for sample in family.samples:
            for label, text in sample.labels.items():
                assert label == "le" or text in documented[family.name][label], sample


def test_the_states_are_those_of_the_instances() -> None:
    kinds = states.State.__args__
    assert sorted(INSTANCE_STATES) == sorted(kind.__name__.lower() for kind in kinds)


def test_a_turns_end_is_counted_once_with_all_that_belongs_to_it(metrics: Metrics) -> None:
    usage = Usage(input=10, cached_input=4, output=3, reasoning_output=2, context_window=1000)
    metrics.turn_ended(Outcome.COMPLETED, None, usage, total_s=3, queued_s=0, first_event_s=0.1, first_text_s=None)
    assert value(metrics, "turns_total", outcome="completed", cause="none") == 1
    assert value(metrics, "ask_seconds_count", outcome="completed") == 1
    assert value(metrics, "ask_seconds_sum", outcome="completed") == 3
    assert value(metrics, "queue_wait_seconds_count") == 1
    assert value(metrics, "first_event_seconds_count") == 1
    assert value(metrics, "first_text_seconds_count") == 0
    assert [value(metrics, "tokens_total", kind=kind) for kind in ("input", "cached_input", "output")] == [10, 4, 3]


def test_instances_are_counted_at_the_scrape(metrics: Metrics) -> None:
    assert value(metrics, "instances", state="busy") == 0
    metrics.watch_instances(lambda: {"busy": 3})
    assert value(metrics, "instances", state="busy") == 3
    assert value(metrics, "instances", state="failed") == 0


def test_child_cpu_never_falls_and_outlives_the_children(metrics: Metrics) -> None:
    metrics.children_sampled({1: ChildSample(100, 2.0), 2: ChildSample(300, 1.0)})
    assert value(metrics, "child_memory_bytes") == 400
    assert value(metrics, "child_memory_max_bytes") == 300
    assert value(metrics, "child_cpu_seconds_total") == 3
    metrics.children_sampled({1: ChildSample(100, 1.5)})  # a process of its tree has ended
    metrics.children_sampled({1: ChildSample(100, 2.5)})
    assert value(metrics, "children") == 1
    assert value(metrics, "child_cpu_seconds_total") == 3.5
    metrics.children_sampled({})
    assert value(metrics, "child_memory_max_bytes") == 0
    assert value(metrics, "child_cpu_seconds_total") == 3.5


def test_the_build_is_told_once(metrics: Metrics) -> None:
    metrics.set_build("1", "")
    metrics.set_build("1", "0.163.0")
    (family,) = [family for family in metrics.registry.collect() if family.name == f"{PREFIX}_build_info"]
    assert [sample.labels["codex_version"] for sample in family.samples] == ["0.163.0"]


async def test_the_loops_lag_is_measured(metrics: Metrics) -> None:
    task = asyncio.get_running_loop().create_task(metrics.sample_loop_lag(SystemClock(), interval_s=0.001))
    await wait_for(lambda: (value(metrics, "event_loop_lag_seconds_count") or 0) >= 3, what="three samples")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_an_unknown_level_makes_no_new_series(metrics: Metrics) -> None:
    metrics.log_handler().emit(logging.makeLogRecord({"levelname": "Level 17"}))
    assert value(metrics, "log_records_total", level="info") == 1


def test_the_reference_page_is_current() -> None:
    assert (DOCS / "metrics.md").read_text() == metrics_reference(), "run make docs"
