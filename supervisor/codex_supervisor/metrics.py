"""What the supervisor counts and measures, as Prometheus metrics in a registry of its own.

An attribute of `Metrics` has the metric's name without the prefix and without `_total`. Label values come from the
tuples below and from the enums of the records: never from what a user wrote, so that their number stays bounded.
"""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from codex_control.service.clock import Clock
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from codex_supervisor.config.turns import OnInterrupted, OnStall
from codex_supervisor.store.records import Cause, Outcome, Usage
from codex_supervisor.task.records import TaskOutcome, TaskState

PREFIX = "codex_supervisor"

INSTANCE_STATES = ("stopped", "starting", "ready", "busy", "backoff", "stopping", "hibernated", "failed")
START_RESULTS = ("ready", "failed")
RESTART_REASONS = ("child_died", "probe_misses", "start_failed", "memory", "requested", "cool_down")
HIBERNATION_REASONS = ("idle", "memory", "max_awake", "claude_ended")
ADOPTION_RESULTS = ("adopted", "gone", "stranger", "ended")
TOKEN_KINDS = ("input", "cached_input", "output", "reasoning_output")
DECISIONS = ("accept", "accept_for_session", "decline", "cancel")
DECIDERS = ("person", "policy", "timeout", "nobody_attached")
RELOAD_RESULTS = ("applied", "refused")
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
NO_CAUSE = "none"
"""The `cause` of a turn that completed."""

# Seconds. An ask lasts from a tenth of a second (a stub model) to the default time limit of two hours.
_ASK = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
_FIRST = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_QUEUE = (0.001, 0.01, 0.1, 1, 5, 15, 60, 300, 900, 3600, 7200)
# Codex answers `initialize` 50 to 90 ms after its spawn on an idle machine.
_START = (0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_STOP = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30)
# One commit of SQLite in WAL mode takes tenths of a millisecond; with a sync to disk, milliseconds.
_WRITE = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)
_LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_RPC = (0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600, 3600)

Wrapper = TypeVar("Wrapper", bound=MetricWrapperBase)


@dataclass(frozen=True, slots=True)
class ChildSample:
    """One child and all that it started, as read from the kernel."""

    memory_bytes: int
    cpu_s: float
    """CPU time used since its start."""


@dataclass(frozen=True, slots=True)
class Documented:
    """A line of the reference: the metric's full name, type, labels with their values, and meaning."""

    name: str
    kind: str
    labels: Mapping[str, Sequence[str]]
    meaning: str


class Metrics:
    """Every metric. Make one for a process; tests make as many as they like."""

    def __init__(self) -> None:
        # `_created` series double the page and say nothing that process_start_time_seconds doesn't.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.documented: list[Documented] = []

        # Turns
        self.turns_accepted = self._counter("turns_accepted", "Turns that were accepted, and so will end in an outcome")
        self.turns = self._counter(
            "turns",
            "Turns that ended, by outcome and cause",
            {"outcome": tuple(Outcome), "cause": (NO_CAUSE, *Cause)},
        )
        # Made before they are counted: a series that begins at 1 shows no increase for its first event.
        self.turns.labels(outcome=Outcome.COMPLETED, cause=NO_CAUSE)
        self.turns.labels(outcome=Outcome.CANCELLED, cause=Cause.USER)
        for outcome in (Outcome.FAILED, Outcome.INTERRUPTED):
            for cause in Cause:
                self.turns.labels(outcome=outcome, cause=cause)
        self.running_turns = self._gauge("running_turns", "Turns that run now")
        self.queued_turns = self._gauge("queued_turns", "Turns that wait now")
        self.queue_rejections = self._counter(
            "queue_rejections", "Turns refused because their instance's queue was full"
        )
        self.ask_seconds = self._histogram(
            "ask_seconds", "From a turn's acceptance to its outcome", _ASK, {"outcome": tuple(Outcome)}
        )
        self.queue_wait_seconds = self._histogram(
            "queue_wait_seconds", "From a turn's acceptance until it was sent to Codex", _QUEUE
        )
        self.first_event_seconds = self._histogram(
            "first_event_seconds", "From the sending of a turn until its first event from Codex", _FIRST
        )
        self.first_text_seconds = self._histogram(
            "first_text_seconds", "From the sending of a turn until the first text of its answer", _FIRST
        )
        self.tokens = self._counter("tokens", "Tokens used, as the model provider counted them", {"kind": TOKEN_KINDS})
        self.events_dropped = self._counter(
            "events_dropped", "Events dropped because a turn passed its limit of recorded output"
        )
        self.provider_retries = self._counter(
            "provider_retries", "Retries by Codex after a failure of the model provider"
        )
        self.stalls = self._counter(
            "stalls", "Turns that gave no sign of life for too long, by what was done", {"action": tuple(OnStall)}
        )
        self.recoveries = self._counter(
            "recoveries", "Turns whose child died, by what was done", {"action": tuple(OnInterrupted)}
        )
        self.recovery_seconds = self._histogram(
            "recovery_seconds", "From a child's death under a turn until the turn went on in a new child", _START
        )
        self.approvals = self._counter(
            "approvals",
            "Approvals and questions from Codex, by the answer and who gave it",
            {"decision": DECISIONS, "by": DECIDERS},
        )

        # Instances and children
        self._instances: Callable[[], Mapping[str, int]] = dict
        self._document("instances", "gauge", "Instances, by state", {"state": INSTANCE_STATES})
        self.registry.register(_InstancesByState(self))
        self.child_starts = self._counter("child_starts", "Starts of a child, by result", {"result": START_RESULTS})
        self.start_seconds = self._histogram("start_seconds", "From the spawn of a child until it was ready", _START)
        self.stop_seconds = self._histogram(
            "stop_seconds", "From the decision to stop a child until every process of it was gone", _STOP
        )
        self.restarts = self._counter("restarts", "Restarts of a child, by reason", {"reason": RESTART_REASONS})
        self.hibernations = self._counter(
            "hibernations", "Children stopped to free their memory, by reason", {"reason": HIBERNATION_REASONS}
        )
        self.adoptions = self._counter(
            "adoptions",
            "Children of an earlier supervisor, by what became of them",
            {"result": ADOPTION_RESULTS},
        )
        self.probe_misses = self._counter("probe_misses", "Probes that a child did not answer in time")
        self.children = self._gauge("children", "Children that run, as last sampled")
        self.child_memory_bytes = self._gauge(
            "child_memory_bytes", "Resident memory of all children together, as last sampled"
        )
        self.child_memory_max_bytes = self._gauge(
            "child_memory_max_bytes", "Resident memory of the largest child, as last sampled"
        )
        self.child_cpu_seconds = self._counter(
            "child_cpu_seconds", "CPU time used by children, those that are gone included"
        )
        self._cpu_seen: dict[Hashable, float] = {}

        # Tasks
        self.tasks = self._gauge(
            "tasks",
            "Tasks in each state, as last sampled; those that are PENDING are the depth of the queue",
            {"state": tuple(TaskState)},
        )
        self.task_ends = self._counter(
            "task_ends", "Tasks that ended here, by outcome", {"outcome": tuple(TaskOutcome)}
        )
        self.task_retries = self._counter(
            "task_retries", "Attempts after which the task is tried again, by outcome", {"outcome": tuple(TaskOutcome)}
        )
        self.task_start_seconds = self._histogram(
            "task_start_seconds", "From a task's acceptance to the start of its first attempt", _QUEUE
        )
        self.task_run_seconds = self._histogram(
            "task_run_seconds", "From the start of a task's first attempt to its end", _ASK
        )
        self.task_heartbeats = self._counter("task_heartbeats", "Heartbeats of tasks: alive and moving")
        self.task_heartbeat_misses = self._counter(
            "task_heartbeat_misses",
            "Looks at a running task that found no sign of life: still (its child lives), or dead",
            {"life": ("still", "dead")},
        )
        self.task_stalls = self._counter(
            "task_stalls",
            "Attempts that were interrupted because nothing moved for too long, by what was found",
            {"life": ("still", "dead")},
        )
        self.task_engine_up = self._gauge(
            "task_engine_up", "1 while the database of the tasks answers, 0 while it is away or cannot be used"
        )
        self.task_engine_up.set(1)
        self.task_state_file_errors = self._counter("task_state_file_errors", "State files that could not be written")

        # The supervisor itself
        self.rpc_calls = self._counter(
            "rpc_calls",
            "Ended gRPC calls, by method and status code",
            {"method": ("every method of the API",), "code": ("every gRPC status code",)},
            make=False,
        )
        self.rpc_seconds = self._histogram(
            "rpc_seconds",
            "Duration of gRPC calls, by method; streams last as long as their turn",
            _RPC,
            {"method": ("every method of the API",)},
            make=False,
        )
        self.journal_write_seconds = self._histogram(
            "journal_write_seconds", "Duration of one committed write to the store", _WRITE
        )
        self.store_quarantines = self._counter(
            "store_quarantines", "Databases that could not be read and were put aside"
        )
        self.config_reloads = self._counter(
            "config_reloads", "Reloads of the configuration, by result", {"result": RELOAD_RESULTS}
        )
        self.degraded = self._gauge("degraded", "Number of things that do not work at present")
        self.event_loop_lag_seconds = self._histogram(
            "event_loop_lag_seconds", "How late the event loop woke a sleeper", _LAG
        )
        self.log_records = self._counter("log_records", "Log records, by level", {"level": LOG_LEVELS})
        self.build_info = self._gauge(
            "build_info",
            "Always 1; the labels say what runs",
            {
                "version": ("of the supervisor",),
                "codex_version": ("of new children",),
                "python_version": ("of Python",),
            },
            make=False,
        )
        for name, kind, meaning in _PROCESS:
            self._document(f"process_{name}", kind, meaning)
        ProcessCollector(namespace=PREFIX, registry=self.registry)

    # What happened

    def turn_ended(
        self,
        outcome: Outcome,
        cause: Cause | None,
        usage: Usage,
        *,
        total_s: float,
        queued_s: float | None,
        first_event_s: float | None,
        first_text_s: float | None,
    ) -> None:
        """Count one turn's end: outcome, durations and tokens. None where it never came that far."""
        self.turns.labels(outcome=outcome.value, cause=cause.value if cause else NO_CAUSE).inc()
        self.ask_seconds.labels(outcome=outcome.value).observe(total_s)
        for histogram, seconds in (
            (self.queue_wait_seconds, queued_s),
            (self.first_event_seconds, first_event_s),
            (self.first_text_seconds, first_text_s),
        ):
            if seconds is not None:
                histogram.observe(seconds)
        for kind in TOKEN_KINDS:
            self.tokens.labels(kind=kind).inc(max(0, getattr(usage, kind)))

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """Count one gRPC call of a known method, as `/package.Service/Method`; unknown ones must not come here."""
        name = method.removeprefix("/")
        self.rpc_calls.labels(method=name, code=code).inc()
        self.rpc_seconds.labels(method=name).observe(seconds)

    def watch_instances(self, by_state: Callable[[], Mapping[str, int]]) -> None:
        """Have `by_state` called at each scrape; it returns the number of instances in each state, by its name."""
        self._instances = by_state

    def children_sampled(self, samples: Mapping[Hashable, ChildSample]) -> None:
        """Take in a sample of all children that run, by a key that no two children ever share (pid and start time)."""
        self.children.set(len(samples))
        self.child_memory_bytes.set(sum(sample.memory_bytes for sample in samples.values()))
        self.child_memory_max_bytes.set(max((sample.memory_bytes for sample in samples.values()), default=0))
        for key, sample in samples.items():
            # A process of the child's tree may end and take its CPU time out of the sum: a counter never falls.
            self.child_cpu_seconds.inc(max(0.0, sample.cpu_s - self._cpu_seen.get(key, 0.0)))
        self._cpu_seen = {key: max(sample.cpu_s, self._cpu_seen.get(key, 0.0)) for key, sample in samples.items()}

    def set_build(self, version: str, codex_version: str) -> None:
        """Say what runs; `codex_version` is empty where no Codex was found. Called again when it changes."""
        self.build_info.clear()
        self.build_info.labels(
            version=version, codex_version=codex_version, python_version=platform.python_version()
        ).set(1)

    async def sample_loop_lag(self, clock: Clock, interval_s: float = 1.0) -> None:
        """Measure the event loop's lag for ever; run it as a task."""
        while True:
            due = clock.monotonic() + interval_s
            await asyncio.sleep(interval_s)
            self.event_loop_lag_seconds.observe(max(0.0, clock.monotonic() - due))

    def log_handler(self) -> logging.Handler:
        """Make a logging handler that counts records by level."""
        return _CountRecords(self.log_records)

    # How metrics are made

    def _document(self, name: str, kind: str, meaning: str, labels: Mapping[str, Sequence[str]] | None = None) -> str:
        full = f"{PREFIX}_{name}{'_total' if kind == 'counter' else ''}"
        self.documented.append(Documented(full, kind, labels or {}, meaning))
        return name

    def _counter(
        self, name: str, meaning: str, labels: Mapping[str, Sequence[str]] | None = None, *, make: bool = True
    ) -> Counter:
        self._document(name, "counter", meaning, labels)
        counter = Counter(f"{PREFIX}_{name}", meaning, tuple(labels or ()), registry=self.registry)
        return _made(counter, labels, make=make)

    def _gauge(
        self, name: str, meaning: str, labels: Mapping[str, Sequence[str]] | None = None, *, make: bool = True
    ) -> Gauge:
        self._document(name, "gauge", meaning, labels)
        gauge = Gauge(f"{PREFIX}_{name}", meaning, tuple(labels or ()), registry=self.registry)
        return _made(gauge, labels, make=make)

    def _histogram(
        self,
        name: str,
        meaning: str,
        buckets: Sequence[float],
        labels: Mapping[str, Sequence[str]] | None = None,
        *,
        make: bool = True,
    ) -> Histogram:
        self._document(name, "histogram", meaning, labels)
        histogram = Histogram(f"{PREFIX}_{name}", meaning, tuple(labels or ()), registry=self.registry, buckets=buckets)
        return _made(histogram, labels, make=make)


def _made(metric: Wrapper, labels: Mapping[str, Sequence[str]] | None, *, make: bool) -> Wrapper:
    # A series that exists at 0 lets rate() see its first step. Only for a single label: products would be many.
    if make and labels and len(labels) == 1:
        ((label, values),) = labels.items()
        for value in values:
            metric.labels(**{label: str(value)})
    return metric


class _InstancesByState(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(f"{PREFIX}_instances", "Instances, by state", labels=("state",))
        counts = self._metrics._instances()
        for state in INSTANCE_STATES:
            family.add_metric((state,), counts.get(state, 0))
        yield family


class _CountRecords(logging.Handler):
    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self._counter = counter

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower()
        self._counter.labels(level=level if level in LOG_LEVELS else "info").inc()


# What ProcessCollector exposes, on Linux alone.
_PROCESS = (
    ("virtual_memory_bytes", "gauge", "Virtual memory of the supervisor; Linux only"),
    ("resident_memory_bytes", "gauge", "Resident memory of the supervisor; Linux only"),
    ("start_time_seconds", "gauge", "Start of the supervisor since the epoch; Linux only"),
    ("cpu_seconds", "counter", "CPU time used by the supervisor; Linux only"),
    ("open_fds", "gauge", "Open file descriptors of the supervisor; Linux only"),
    ("max_fds", "gauge", "Limit of open file descriptors; Linux only"),
)


def metrics_reference() -> str:
    """Write the reference page docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "<!-- Generated from the code by `make docs`: edit codex_supervisor/metrics.py in its place. -->",
        "",
        "Served on `http://127.0.0.1:9476/metrics` (see `metrics` in [configuration](configuration.md)), as Prometheus",
        "text or OpenMetrics, whichever the scraper asks for; `/healthz` on the same port answers 200 while the",
        "supervisor works. Durations are seconds, sizes are bytes. No label holds a name that a user chose.",
        "",
        "| metric | type | labels | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for entry in Metrics().documented:
        labels = "<br>".join(f"`{label}`: {', '.join(values)}" for label, values in entry.labels.items())
        lines.append(f"| `{entry.name}` | {entry.kind} | {labels} | {entry.meaning} |")
    return "\n".join(lines) + "\n"
