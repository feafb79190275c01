"""Traces of turns, against a stub collector: complete over a death of the supervisor, and in nobody's way."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from codex_control.v1 import outcome_pb2, turns_pb2
from codex_supervisor.tracing import why_off
from codex_supervisor.tracing_spans import trace_id_of

from tests.faults.watching import asking
from tests.support.codex_home import CodexHome
from tests.support.model_script import Command, Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor, supervisor_of
from tests.support.waiting import wait_for

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")


class Collector:
    """Takes spans over OTLP/HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.raw = b""
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def take(self, body: bytes) -> None:
        """Take one request in."""
        self.raw += body
        for resource in trace_service.ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services |= {
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def of(self, turn_id: str) -> dict[str, Any]:
        """The spans of a turn by their names."""
        trace = trace_id_of(turn_id).to_bytes(16, "big")
        return {span.name: span for span in self.spans if span.trace_id == trace}

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that listens."""
    made = Collector()
    yield made
    made.close()


@asynccontextmanager
async def traced(home: CodexHome, runtime_dir: Path, codex: Path, endpoint: str) -> AsyncIterator[RunningSupervisor]:
    """A supervisor that sends its traces to `endpoint` at once."""
    settings = {"codex": {"binary": str(codex)}}
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    async with supervisor_of(home, runtime_dir, settings, **environment) as supervisor:
        yield supervisor


def attributes(span: Any) -> dict[str, Any]:
    """The attributes of a span."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


async def test_a_turn_is_one_trace_over_the_death_of_its_supervisor(
    codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path, stub_model: StubModel, collector: Collector
) -> None:
    async with traced(codex_home, short_runtime_dir, real_codex, collector.url) as supervisor:
        gate = stub_model.gate()
        stub_model.script(Command("echo secret-command"))
        stub_model.script(gate, Text("the secret answer"))
        async with asking(supervisor, "the secret question") as asked:
            await asked.reached("command")
            await gate.reached()
            await supervisor.restart()
        gate.release()
        request = turns_pb2.AttachRequest(turn_id=asked.request.request_id)
        events = [answer.event async for answer in supervisor.client.turns.Attach(request, timeout=40)]
        turn = events[-1].ended.turn
        assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED, turn.error
        await wait_for(lambda: "message" in collector.of(turn.id), 10, "the spans of the turn")
        spans = collector.of(turn.id)
    assert set(spans) == {"ask", "queue", "turn", "command", "message"}
    assert not spans["ask"].parent_span_id
    for name, parent in (("queue", "ask"), ("turn", "ask"), ("command", "turn"), ("message", "turn")):
        assert spans[name].parent_span_id == spans[parent].span_id
        assert spans[name].start_time_unix_nano <= spans[name].end_time_unix_nano
    told = attributes(spans["ask"])
    assert (told["codex.turn.id"], told["codex.instance"], told["codex.outcome"]) == (turn.id, "main", "completed")
    assert attributes(spans["command"])["codex.exit_code"] == 0
    assert collector.services == {"codex-supervisor"}
    assert b"secret" not in collector.raw, "no prompt, answer or command"


async def test_a_collector_that_is_away_is_in_nobodys_way(
    codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path
) -> None:
    async with traced(codex_home, short_runtime_dir, real_codex, "http://127.0.0.1:9") as supervisor:
        for number in range(3):
            assert (await supervisor.client.ask(f"question {number}")).outcome == outcome_pb2.OUTCOME_COMPLETED

        def told() -> bool:
            return "traces are not taken by their collector" in supervisor.log()

        await wait_for(told, 30, "the log to say that nobody takes them")
        assert supervisor.log().count("traces are not taken") == 1
        assert await asyncio.wait_for(supervisor.stop(), 10) == 0
        await supervisor.start()


def test_off_it_is_not_imported() -> None:
    code = "import sys, codex_supervisor.daemon; sys.exit(any('opentelemetry' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_who_asks_for_what_cannot_be_is_told() -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    assert why_off({}) == ""
    assert why_off({"OTEL_SERVICE_NAME": "x"}) == ""
    assert why_off(endpoint | {"OTEL_SDK_DISABLED": "true"}) == ""
    assert why_off(endpoint | {"OTEL_TRACES_EXPORTER": "none"}) == ""
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" in (
        why_off(endpoint | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) or ""
    )
    assert why_off(endpoint) is None
