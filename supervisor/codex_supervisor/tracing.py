"""OpenTelemetry traces of turns, where the extra `otel` is installed and the standard variables name a collector.

Off, it imports nothing and costs nothing. On, a turn's spans are made once it has ended and go through a bounded queue
and a thread of the SDK: a collector that is slow or away costs spans, and never a turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from codex_control import __version__
from codex_control.errors import CodexError
from codex_control.service.owned_tasks import TaskSet
from codex_control.v1 import turns_pb2

from codex_supervisor.tracing_spans import SpanDraft, TurnSpans, trace_id_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    from codex_supervisor.store.store import Store

_log = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"

# Turns whose traces are being made; more at once, and the later ones have none.
_MAX_AT_ONCE = 50
_PAGE_EVENTS = 256
_PAGE_BYTES = 128 * 1024
# The supervisor's end waits so long for the last spans.
_CLOSE_LIMIT_S = 1.0


def why_off(environ: Mapping[str, str]) -> str | None:
    """Return None where traces are wanted and can be sent; else why not, empty where nobody asked for them."""
    if not any(environ.get(name) for name in _ENDPOINTS):
        return ""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return ""
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), _PROTOCOL)
    if protocol != _PROTOCOL:
        return f"the protocol {protocol} is not spoken here; set OTEL_EXPORTER_OTLP_PROTOCOL={_PROTOCOL}"
    return None if _is_installed() else "the packages are missing: install codex-supervisor[otel]"


def _is_installed() -> bool:
    from importlib.util import find_spec

    try:
        # The API alone comes with other packages.
        return all(find_spec(name) for name in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"))
    except ModuleNotFoundError:
        return False


def start_tracing(store: Store, tasks: TaskSet, environ: Mapping[str, str]) -> Tracing | None:
    """Return what makes traces; None where they are off, which is logged where somebody asked for them."""
    why = why_off(environ)
    if why is not None:
        if why:
            _log.info("traces are asked for and off: " + why)
        return None
    return Tracing(store, tasks, environ)


class Tracing:
    """Makes the trace of each turn that ended."""

    def __init__(self, store: Store, tasks: TaskSet, environ: Mapping[str, str]) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        # Its words about a collector that is away come with every batch; ours come once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._store, self._tasks = store, tasks
        name = environ.get("OTEL_SERVICE_NAME") or "codex-supervisor"
        self._resource = Resource.create({"service.name": name, "service.version": __version__})
        self._scope = InstrumentationScope("codex_supervisor", __version__)
        self._processor = BatchSpanProcessor(_noting(OTLPSpanExporter()))
        self._making = 0

    def __repr__(self) -> str:
        return f"<Tracing {self._making} being made>"

    def turn_ended(self, turn_id: str) -> None:
        """Make the trace of a turn whose outcome is recorded. Never waits and never raises."""
        if self._making < _MAX_AT_ONCE:
            self._making += 1
            self._tasks.start(self._trace(turn_id), f"trace {turn_id}")

    async def _trace(self, turn_id: str) -> None:
        try:
            record = await self._store.get_turn(turn_id)
            if record is None:
                return  # it was deleted
            made = TurnSpans(turn_id)
            position = 0
            while rows := await self._store.read_events(turn_id, position, _PAGE_EVENTS, _PAGE_BYTES):
                for row in rows:
                    position = row.seq
                    made.take(turns_pb2.TurnEvent.FromString(row.payload))
            for span in made.spans(record):
                self._processor.on_end(self._readable(trace_id_of(turn_id), span))
        except CodexError as error:
            _log.info("trace_not_made", extra={"turn": turn_id, "error": str(error)})
        except Exception:
            # No figure about a turn may end the supervisor.
            _log.exception("trace_failed", extra={"turn": turn_id})
        finally:
            self._making -= 1

    def _readable(self, trace_id: int, span: SpanDraft) -> ReadableSpan:
        from opentelemetry.sdk.trace import Event, ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        def context(span_id: int) -> SpanContext:
            return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

        return ReadableSpan(
            name=span.name,
            context=context(span.span_id),
            parent=context(span.parent) if span.parent else None,
            resource=self._resource,
            attributes=span.attributes,
            events=[Event(mark.name, dict(mark.attributes), mark.at_ns) for mark in span.marks],
            kind=SpanKind.INTERNAL if span.parent else SpanKind.SERVER,
            status=Status(StatusCode.ERROR, span.failed) if span.failed else Status(StatusCode.OK),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=self._scope,
        )

    async def close(self) -> None:
        """Send what waits, for a moment; a collector that is away holds nobody up."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut() -> None:
            with contextlib.suppress(Exception):
                self._processor.shutdown()  # type: ignore[no-untyped-call]
            with contextlib.suppress(RuntimeError):  # the loop has gone before
                loop.call_soon_threadsafe(done.set)

        # No thread of the loop's own: their end is waited for when the loop ends.
        threading.Thread(target=shut, daemon=True, name="end of tracing").start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), _CLOSE_LIMIT_S)


def _noting(exporter: SpanExporter) -> SpanExporter:
    """Return an exporter that says once that it cannot send, and once that it can again."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Noting(SpanExporter):
        def __init__(self) -> None:
            self._fails = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            error = "the collector refused them or cannot be reached"
            try:
                result = exporter.export(spans)
            except Exception as problem:
                result, error = SpanExportResult.FAILURE, repr(problem)
            failed = result is not SpanExportResult.SUCCESS
            if failed and not self._fails:
                _log.warning("traces are not taken by their collector, and are dropped", extra={"error": error})
            elif self._fails and not failed:
                _log.info("traces are taken by their collector again")
            self._fails = failed
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return exporter.force_flush(timeout_millis)

    made: Any = Noting()
    return made  # type: ignore[no-any-return]
