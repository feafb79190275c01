"""What the gateway counts and measures, as Prometheus metrics in a registry of its own.

Labels are bounded: endpoints come from the configuration, all other values from the tuples and enums named here; models
and token names are no labels.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import accumulate

from codex_control import __version__
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from codex_gateway.upstream.trail import Attempt, Entry

PREFIX = "codex_gateway"
TOKEN_KINDS = ("input", "cached", "output", "reasoning")

_FIRST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_WHOLE = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)


class _Sums:
    """A histogram's counts. prometheus-client's own takes a lock for each number: ten times as long."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one in."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds and what is up to each, as the exposition wants them."""
        names = [*(repr(float(bound)) for bound in self.bounds), "+Inf"]
        return list(zip(names, accumulate(self.counts), strict=True))


class _Requests(Collector):
    """What is counted for each request."""

    def __init__(
        self, ended: dict[tuple[str, str, str, str], _Sums], first_bytes: dict[tuple[str, str, str], _Sums]
    ) -> None:
        self._ended = ended
        self._first_bytes = first_bytes

    def collect(self) -> Iterable[Metric]:
        """See prometheus-client."""
        labels = ("endpoint", "client", "dialect", "outcome")
        requests = CounterMetricFamily(f"{PREFIX}_requests", "Requests of clients that ended", labels=labels)
        seconds = HistogramMetricFamily(
            f"{PREFIX}_request_seconds", "From a request to the end of its answer", labels=labels
        )
        for values, sums in self._ended.items():
            requests.add_metric(values, sum(sums.counts))
            seconds.add_metric(values, sums.buckets(), sums.total)
        first = HistogramMetricFamily(
            f"{PREFIX}_first_byte_seconds", "From a request to the first byte of its answer", labels=labels[:3]
        )
        for some, sums in self._first_bytes.items():
            first.add_metric(some, sums.buckets(), sums.total)
        return (requests, seconds, first)


class Metrics:
    """Every metric. An attribute has its metric's name without the prefix and without `_total`."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._ended: dict[tuple[str, str, str, str], _Sums] = {}
        self._first_bytes: dict[tuple[str, str, str], _Sums] = {}
        self.registry.register(_Requests(self._ended, self._first_bytes))
        self.attempts = Counter(
            f"{PREFIX}_attempts",
            "Attempts at endpoints that ended, by what came",
            ("endpoint", "outcome"),
            registry=self.registry,
        )
        self.tokens = Counter(
            f"{PREFIX}_tokens", "Tokens, as endpoints counted them", ("endpoint", "kind"), registry=self.registry
        )
        self.refusals = Counter(
            f"{PREFIX}_refusals",
            "Requests that the gateway itself refused, by status",
            ("status",),
            registry=self.registry,
        )
        self.running_requests = Gauge(f"{PREFIX}_running_requests", "Requests under way", registry=self.registry)
        self.endpoint_up = Gauge(
            f"{PREFIX}_endpoint_up", "1 where an endpoint may get requests now", ("endpoint",), registry=self.registry
        )
        self.config_reloads = Counter(
            f"{PREFIX}_config_reloads", "Reloads of the configuration, by result", ("result",), registry=self.registry
        )
        for result in ("applied", "refused"):
            self.config_reloads.labels(result)
        info = Gauge(
            f"{PREFIX}_build_info", "What runs; always 1", ("version", "python_version"), registry=self.registry
        )
        info.labels(__version__, platform.python_version()).set(1)
        self._before: list[Callable[[], None]] = []
        # Looking a child up by its labels takes longer than counting: the last ones are kept at hand.
        self._kept_attempts: dict[tuple[str, str], Counter] = {}
        self._token_sums: dict[str, list[int]] = {}
        """Since the last page, by endpoint, in the order of `TOKEN_KINDS`."""

    def before_page(self, work: Callable[[], None]) -> None:
        """Have `work` called before each page: it sets gauges."""
        self._before.append(work)

    def page(self) -> bytes:
        """The page, as Prometheus' text."""
        for work in self._before:
            work()
        for endpoint, sums in self._token_sums.items():
            for kind, count in zip(TOKEN_KINDS, sums, strict=True):
                self.tokens.labels(endpoint, kind).inc(count)
        self._token_sums.clear()
        return generate_latest(self.registry)

    def ended(self, entry: Entry) -> None:
        """Count a request that ended."""
        labels = (entry.endpoint or "none", entry.kind.value, entry.dialect.value, entry.outcome)
        sums = self._ended.get(labels)
        if sums is None:
            sums = self._ended[labels] = _Sums(_WHOLE)
        sums.add(entry.duration_s)
        if entry.first_byte_s is not None:
            first = self._first_bytes.get(labels[:3])
            if first is None:
                first = self._first_bytes[labels[:3]] = _Sums(_FIRST)
            first.add(entry.first_byte_s)
        usage = entry.usage
        if usage is not None:
            tokens = self._token_sums.get(labels[0])
            if tokens is None:
                tokens = self._token_sums[labels[0]] = [0, 0, 0, 0]
            tokens[0] += usage.input + usage.cache_write
            tokens[1] += usage.cache_read
            tokens[2] += usage.output
            tokens[3] += usage.reasoning

    def attempted(self, attempt: Attempt) -> None:
        """Count an attempt that ended."""
        labels = (attempt.endpoint, attempt.outcome)
        kept = self._kept_attempts.get(labels)
        if kept is None:
            kept = self._kept_attempts[labels] = self.attempts.labels(*labels)
        kept.inc()

    def refused(self, status: int) -> None:
        """Count a refusal of the gateway itself."""
        self.refusals.labels(str(status)).inc()
