"""A supervisor of scripts: the generated services on a real Unix socket, with turns that a test writes.

Turns are journals that outlive a restart of the server, as the real ones do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from codex_control.errors import ERROR_DOMAIN, CodexError, NotFound
from codex_control.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    claude_pb2,
    claude_pb2_grpc,
    history_pb2,
    history_pb2_grpc,
    instances_pb2_grpc,
    turns_pb2_grpc,
)
from codex_control.v1 import instances_pb2 as ipb
from codex_control.v1 import turns_pb2 as tpb
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

PATIENCE_S = 20.0


class FakeTurn:
    """One turn: a journal that a script appends to."""

    def __init__(self, turn_id: str, request: tpb.AskRequest) -> None:
        self.record = tpb.Turn(
            id=turn_id, request_id=request.request_id, instance="project", prompt=request.prompt, profile="default"
        )
        self.record.accepted_at.FromJsonString("2025-11-21T10:00:00Z")
        self.request = request
        self.events: list[tpb.TurnEvent] = []
        self.changed = threading.Condition()
        self.responses: dict[str, tpb.RespondRequest] = {}
        self.interrupts = 0
        self.watchers = 0
        self.emit(accepted=tpb.TurnAccepted(instance="project", profile="default"))

    def emit(self, **event: Any) -> None:
        """Append one event, given as its field of `TurnEvent`."""
        with self.changed:
            appended = tpb.TurnEvent(turn_id=self.record.id, seq=len(self.events) + 1, **event)
            appended.at.FromJsonString("2025-11-21T10:00:01.5Z")
            self.events.append(appended)
            self.changed.notify_all()

    def text(self, text: str, item: str = "m1") -> None:
        """A piece of an answer."""
        self.emit(text=tpb.TextDelta(item_id=item, text=text))

    def message(self, text: str, item: str = "m1", phase: str = "final_answer") -> None:
        """A whole message."""
        self.emit(message=tpb.MessageCompleted(item_id=item, text=text, phase=phase))

    def end(self, answer: str = "", outcome: str = "COMPLETED", cause: str = "", error: str = "") -> None:
        """The outcome."""
        self.record.state = tpb.TURN_STATE_ENDED
        kinds = tpb.Turn(outcome=f"OUTCOME_{outcome}", cause=f"CAUSE_{cause or 'UNSPECIFIED'}")
        self.record.MergeFrom(kinds)
        self.record.answer, self.record.error = answer, error
        self.record.timings.total.FromMilliseconds(1500)
        self.record.usage.input, self.record.usage.output = 1200, 34
        self.emit(ended=tpb.TurnEnded(turn=self.record))

    def wait_for(self, condition: Callable[[], Any]) -> None:
        """Return when `condition` holds; checked at each change of the turn."""
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE_S), "the test waited too long"

    def after(self, position: int, context: grpc.ServicerContext) -> list[tpb.TurnEvent]:
        """The events after the first `position`, awaited where there are none yet; none where the client left."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.events) > position or not context.is_active(), PATIENCE_S)
            return self.events[position:]

    def touch(self) -> None:
        """Have the conditions checked again."""
        with self.changed:
            self.changed.notify_all()


Script = Callable[[FakeTurn], None]


def answer_with(text: str) -> Script:
    """A script that streams `text` and completes with it."""

    def script(turn: FakeTurn) -> None:
        turn.emit(started=tpb.TurnStarted(thread_id="th", codex_turn_id="ct"))
        turn.text(text)
        turn.message(text)
        turn.end(text)

    return script


class FakeSupervisor(
    turns_pb2_grpc.TurnsServicer,
    instances_pb2_grpc.InstancesServicer,
    history_pb2_grpc.HistoryServicer,
    admin_pb2_grpc.AdminServicer,
    claude_pb2_grpc.ClaudeServicer,
):
    """All services. `script` plays the next turns, `errors` maps a method's name to what it raises."""

    def __init__(self, socket_path: Path) -> None:
        self.socket_path = socket_path
        self.script: Script = answer_with("Hello")
        self.errors: dict[str, CodexError | grpc.StatusCode] = {}
        self.requests: list[Message] = []
        self.turns: dict[str, FakeTurn] = {}
        self.instances: dict[str, ipb.Instance] = {"project": _instance("project", ipb.INSTANCE_STATE_READY)}
        self.version = admin_pb2.VersionResponse(version="9.9.9", codex_version="0.163.0", pid=4711)
        self.version.started_at.FromSeconds(1_700_000_000)
        self.reloaded = ["profiles.low"]
        self.checks = [admin_pb2.Check(name="socket", status=admin_pb2.CHECK_STATUS_OK, found="there")]
        self.logs: list[admin_pb2.LogsResponse] = []
        self.events: list[admin_pb2.EventsResponse] = []
        self.drained_remaining = 0
        self.replaces_program = True
        self.stop_allowed = threading.Event()
        self.stop_allowed.set()
        self.hold_watch = False
        self._server: grpc.Server | None = None
        self._health = health.HealthServicer()
        self.health("SERVING")

    def health(self, status: str) -> None:
        """Set what the health service says."""
        self._health.set("", health_pb2.HealthCheckResponse.ServingStatus.Value(status))

    def start(self) -> None:
        """Listen."""
        self.socket_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        server = grpc.server(ThreadPoolExecutor(16))
        turns_pb2_grpc.add_TurnsServicer_to_server(self, server)
        # One class serves all; List, Get and Start are the same names in two services.
        instances_pb2_grpc.add_InstancesServicer_to_server(_InstanceMethods(self), server)
        history_pb2_grpc.add_HistoryServicer_to_server(self, server)
        admin_pb2_grpc.add_AdminServicer_to_server(self, server)
        claude_pb2_grpc.add_ClaudeServicer_to_server(self, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        server.add_insecure_port(f"unix:{self.socket_path}")
        server.start()
        self._server = server

    def stop(self) -> None:
        """Cut every connection and go."""
        if self._server is not None:
            self._server.stop(0).wait(PATIENCE_S)
            self._server = None

    def turn(self) -> FakeTurn:
        """The last turn that was asked for."""
        return list(self.turns.values())[-1]

    def last(self, kind: type[Message]) -> Any:
        """The last request of this kind."""
        return next(request for request in reversed(self.requests) if isinstance(request, kind))

    def _enter(self, method: str, request: Message, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        error = self.errors.get(method)
        if isinstance(error, CodexError):
            abort(context, error)
        elif error is not None:
            context.abort(error, "no details here")

    # Turns

    def Ask(self, request: tpb.AskRequest, context: grpc.ServicerContext) -> Iterator[tpb.AskResponse]:  # noqa: N802
        self._enter("Ask", request, context)
        turn = next((one for one in self.turns.values() if one.record.request_id == request.request_id), None)
        if turn is None:
            turn = FakeTurn(f"01TURN{len(self.turns) + 1:04}", request)
            self.turns[turn.record.id] = turn
            threading.Thread(target=self.script, args=(turn,), daemon=True).start()
        for event in self._follow(turn, 0, context):
            yield tpb.AskResponse(event=event)
            if request.detach:
                return

    def Review(self, request: tpb.ReviewRequest, context: grpc.ServicerContext) -> Iterator[tpb.ReviewResponse]:  # noqa: N802
        self._enter("Review", request, context)
        asked = tpb.AskRequest(request_id=request.request_id, prompt="review", detach=request.detach)
        for answer in self.Ask(asked, context):
            yield tpb.ReviewResponse(event=answer.event)

    def Attach(self, request: tpb.AttachRequest, context: grpc.ServicerContext) -> Iterator[tpb.AttachResponse]:  # noqa: N802
        self._enter("Attach", request, context)
        for event in self._follow(self._find(request.turn_id, context), request.after_seq, context):
            yield tpb.AttachResponse(event=event)

    def _find(self, turn_id: str, context: grpc.ServicerContext) -> FakeTurn:
        for turn in self.turns.values():
            if turn_id in (turn.record.id, turn.record.request_id):
                return turn
        abort(context, NotFound(f"there is no turn {turn_id}", next_step="codexctl turns lists them"))
        raise AssertionError

    def _follow(self, turn: FakeTurn, after: int, context: grpc.ServicerContext) -> Iterator[tpb.TurnEvent]:
        context.add_callback(turn.touch)
        position = after
        turn.watchers += 1
        turn.touch()
        try:
            while context.is_active():
                fresh = turn.after(position, context)
                position += len(fresh)
                yield from fresh
                if fresh and fresh[-1].WhichOneof("event") == "ended":
                    return
        finally:
            turn.watchers -= 1

    def Interrupt(self, request: tpb.InterruptRequest, context: grpc.ServicerContext) -> tpb.InterruptResponse:  # noqa: N802
        self._enter("Interrupt", request, context)
        turn = self._find(request.turn_id, context) if request.turn_id else self.turn()
        turn.interrupts += 1
        turn.touch()
        turn.wait_for(lambda: turn.record.outcome)
        return tpb.InterruptResponse(turn=turn.record)

    def Steer(self, request: tpb.SteerRequest, context: grpc.ServicerContext) -> tpb.SteerResponse:  # noqa: N802
        self._enter("Steer", request, context)
        return tpb.SteerResponse(turn_id=request.turn_id or "01RUNNING")

    def Get(self, request: tpb.GetTurnRequest, context: grpc.ServicerContext) -> tpb.GetTurnResponse:  # noqa: N802
        self._enter("Get", request, context)
        return tpb.GetTurnResponse(turn=self._find(request.turn_id, context).record)

    def List(self, request: tpb.ListTurnsRequest, context: grpc.ServicerContext) -> tpb.ListTurnsResponse:  # noqa: N802
        self._enter("List", request, context)
        return tpb.ListTurnsResponse(turns=[turn.record for turn in reversed(self.turns.values())])

    def Respond(self, request: tpb.RespondRequest, context: grpc.ServicerContext) -> tpb.RespondResponse:  # noqa: N802
        self._enter("Respond", request, context)
        approval_id = request.approval_id or "ap1"
        for turn in self.turns.values():
            turn.responses[approval_id] = request
            turn.touch()
        return tpb.RespondResponse(approval_id=approval_id)

    # History

    def Page(self, request: history_pb2.PageRequest, context: grpc.ServicerContext) -> history_pb2.PageResponse:  # noqa: N802
        self._enter("Page", request, context)
        entries = [turn.record for turn in reversed(self.turns.values())]
        begin = int(request.page_token or 0)
        end = begin + request.page_size
        return history_pb2.PageResponse(
            entries=entries[begin:end], next_page_token=str(end) if end < len(entries) else ""
        )

    def Search(self, request: history_pb2.SearchRequest, context: grpc.ServicerContext) -> history_pb2.SearchResponse:  # noqa: N802
        self._enter("Search", request, context)
        found = [turn.record for turn in self.turns.values() if request.text.lower() in turn.record.prompt.lower()]
        return history_pb2.SearchResponse(entries=found)

    def Export(  # noqa: N802
        self, request: history_pb2.ExportRequest, context: grpc.ServicerContext
    ) -> Iterator[history_pb2.ExportResponse]:
        self._enter("Export", request, context)
        for turn in self.turns.values():
            yield history_pb2.ExportResponse(entry=turn.record)

    def Clear(self, request: history_pb2.ClearRequest, context: grpc.ServicerContext) -> history_pb2.ClearResponse:  # noqa: N802
        self._enter("Clear", request, context)
        return history_pb2.ClearResponse(deleted=len(self.turns))

    # Admin

    def Version(self, request: admin_pb2.VersionRequest, context: grpc.ServicerContext) -> admin_pb2.VersionResponse:  # noqa: N802
        self._enter("Version", request, context)
        return self.version

    def Reload(self, request: admin_pb2.ReloadRequest, context: grpc.ServicerContext) -> admin_pb2.ReloadResponse:  # noqa: N802
        self._enter("Reload", request, context)
        if request.exec and self.replaces_program:
            self.version.started_at.seconds += 1
        return admin_pb2.ReloadResponse(applied=self.reloaded, needs_restart=["metrics.port"])

    def Drain(self, request: admin_pb2.DrainRequest, context: grpc.ServicerContext) -> admin_pb2.DrainResponse:  # noqa: N802
        self._enter("Drain", request, context)
        return admin_pb2.DrainResponse(remaining=self.drained_remaining)

    def Doctor(self, request: admin_pb2.DoctorRequest, context: grpc.ServicerContext) -> admin_pb2.DoctorResponse:  # noqa: N802
        self._enter("Doctor", request, context)
        return admin_pb2.DoctorResponse(checks=self.checks)

    def Logs(self, request: admin_pb2.LogsRequest, context: grpc.ServicerContext) -> Iterator[admin_pb2.LogsResponse]:  # noqa: N802
        self._enter("Logs", request, context)
        yield from self.logs

    def Events(  # noqa: N802
        self, request: admin_pb2.EventsRequest, context: grpc.ServicerContext
    ) -> Iterator[admin_pb2.EventsResponse]:
        self._enter("Events", request, context)
        yield from self.events

    def Profiles(self, request: admin_pb2.ProfilesRequest, context: grpc.ServicerContext) -> admin_pb2.ProfilesResponse:  # noqa: N802
        self._enter("Profiles", request, context)
        profile = admin_pb2.Profile(name="high", effort="high", summary="auto", sandbox="workspace-write")
        return admin_pb2.ProfilesResponse(profiles=[profile])

    # Claude

    def Bind(self, request: claude_pb2.BindRequest, context: grpc.ServicerContext) -> claude_pb2.BindResponse:  # noqa: N802
        self._enter("Bind", request, context)
        return claude_pb2.BindResponse(instance=self.instances["project"], process=request.process)

    def End(self, request: claude_pb2.EndRequest, context: grpc.ServicerContext) -> claude_pb2.EndResponse:  # noqa: N802
        self._enter("End", request, context)
        return claude_pb2.EndResponse()


class _InstanceMethods(instances_pb2_grpc.InstancesServicer):
    def __init__(self, fake: FakeSupervisor) -> None:
        self._fake = fake

    def _known(self, method: str, request: Any, context: grpc.ServicerContext) -> ipb.Instance:
        self._fake._enter(f"Instances.{method}", request, context)
        name = request.instance.id or "project"
        if name not in self._fake.instances:
            abort(context, NotFound(f"there is no instance {name}", next_step="codexctl status lists them"))
        return self._fake.instances[name]

    def Start(self, request: ipb.StartRequest, context: grpc.ServicerContext) -> ipb.StartResponse:  # noqa: N802
        instance = self._known("Start", request, context)
        assert self._fake.stop_allowed.wait(PATIENCE_S), "nobody let the start go on"
        return ipb.StartResponse(instance=instance)

    def Stop(self, request: ipb.StopRequest, context: grpc.ServicerContext) -> ipb.StopResponse:  # noqa: N802
        instance = self._known("Stop", request, context)
        assert self._fake.stop_allowed.wait(PATIENCE_S), "nobody let the stop go on"
        instance.state = ipb.INSTANCE_STATE_STOPPED
        return ipb.StopResponse(instance=instance)

    def Restart(self, request: ipb.RestartRequest, context: grpc.ServicerContext) -> ipb.RestartResponse:  # noqa: N802
        return ipb.RestartResponse(instance=self._known("Restart", request, context))

    def Get(self, request: ipb.GetInstanceRequest, context: grpc.ServicerContext) -> ipb.GetInstanceResponse:  # noqa: N802
        return ipb.GetInstanceResponse(instance=self._known("Get", request, context))

    def List(self, request: ipb.ListInstancesRequest, context: grpc.ServicerContext) -> ipb.ListInstancesResponse:  # noqa: N802
        self._fake._enter("Instances.List", request, context)
        return ipb.ListInstancesResponse(instances=self._fake.instances.values())

    def Configure(self, request: ipb.ConfigureRequest, context: grpc.ServicerContext) -> ipb.ConfigureResponse:  # noqa: N802
        instance = self._known("Configure", request, context)
        for field, value in request.ListFields():
            if field.name != "instance":
                setattr(instance.settings, field.name, value)
        return ipb.ConfigureResponse(instance=instance)

    def Delete(self, request: ipb.DeleteInstanceRequest, context: grpc.ServicerContext) -> ipb.DeleteInstanceResponse:  # noqa: N802
        del self._fake.instances[self._known("Delete", request, context).id]
        return ipb.DeleteInstanceResponse()

    def Watch(  # noqa: N802
        self, request: ipb.WatchInstancesRequest, context: grpc.ServicerContext
    ) -> Iterator[ipb.WatchInstancesResponse]:
        self._fake._enter("Instances.Watch", request, context)
        for instance in self._fake.instances.values():
            yield ipb.WatchInstancesResponse(instance=instance)
        if self._fake.hold_watch:
            ended = threading.Event()
            context.add_callback(ended.set)
            ended.wait(PATIENCE_S)


def abort(context: grpc.ServicerContext, error: CodexError) -> None:
    """End the call as the supervisor does: a status with the error's what, why and next step."""
    info = error_details_pb2.ErrorInfo(
        reason=error.reason,
        domain=ERROR_DOMAIN,
        metadata={"what": error.what, "why": error.why, "next": error.next_step},
    )
    packed = any_pb2.Any()
    packed.Pack(info)
    code: grpc.StatusCode = getattr(grpc.StatusCode, error.status)
    status = status_pb2.Status(code=code.value[0], message=str(error), details=[packed])
    context.abort_with_status(rpc_status.to_status(status))


def _instance(name: str, state: ipb.InstanceState) -> ipb.Instance:
    instance = ipb.Instance(id=name, state=state, workspace=f"/home/u/{name}", restarts=2)
    instance.settings.profile = "default"
    instance.settings.approval_policy = ipb.APPROVAL_POLICY_INTERACTIVE
    instance.since.FromSeconds(1_700_000_000)
    instance.created_at.FromSeconds(1_700_000_000)
    instance.child.pid, instance.child.memory_bytes, instance.child.codex_version = 99, 150 << 20, "0.163.0"
    return instance
