"""The Admin service: looks after the supervisor itself, and shows its log and its decisions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Protocol

import grpc.aio
from codex_control.errors import BadInput
from codex_control.service.logs import log_file
from codex_control.v1 import admin_pb2, admin_pb2_grpc

from codex_supervisor.config.choosing import all_profiles
from codex_supervisor.event_sentences import sentence_of
from codex_supervisor.instance.asks import Asks
from codex_supervisor.instance.children import stderr_log
from codex_supervisor.log_reading import LogLine, of_instance, read_log
from codex_supervisor.osservice.successor import check_successor
from codex_supervisor.turn.messages import timestamp

if TYPE_CHECKING:
    from codex_supervisor.doctor.check import CheckResult

_log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]

_DEFAULT_TAIL = 100
_MAX_TAIL = 10_000

_STATUSES = {
    "ok": admin_pb2.CHECK_STATUS_OK,
    "warning": admin_pb2.CHECK_STATUS_WARNING,
    "error": admin_pb2.CHECK_STATUS_ERROR,
}


class Supervisor(Protocol):
    """What the service needs of the daemon."""

    def version(self) -> admin_pb2.VersionResponse:
        """Describe what runs."""

    async def reload(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Read the configuration again; return the keys applied, and those that wait for a restart."""

    async def examine(self) -> list[CheckResult]:
        """Run the doctor's checks."""

    def replace_program(self) -> None:
        """Run the installed version in place of this one, once the call has been answered."""


class AdminServicer(admin_pb2_grpc.AdminServicer):
    """Looks after the supervisor itself."""

    def __init__(self, supervisor: Supervisor, asks: Asks) -> None:
        self._supervisor = supervisor
        self._asks = asks

    async def Version(self, request: admin_pb2.VersionRequest, context: Context) -> admin_pb2.VersionResponse:
        """See admin.proto."""
        return self._supervisor.version()

    async def Reload(self, request: admin_pb2.ReloadRequest, context: Context) -> admin_pb2.ReloadResponse:
        """See admin.proto."""
        if request.exec:
            # The configuration is for the installed version, which alone judges it: it may have settings that we do not
            # know, and what we would load only now to read it may be of that version too.
            await check_successor()
            self._supervisor.replace_program()
            return admin_pb2.ReloadResponse()
        applied, needs_restart = await self._supervisor.reload()
        return admin_pb2.ReloadResponse(applied=applied, needs_restart=needs_restart)

    async def Drain(self, request: admin_pb2.DrainRequest, context: Context) -> admin_pb2.DrainResponse:
        """See admin.proto."""
        fleet = self._asks.fleet
        if self._asks.draining is request.resume:
            event = "drain_ended" if request.resume else "drain_began"
            _log.info(event, extra={"turns": fleet.unfinished_turns()})
        self._asks.draining = not request.resume
        if not request.resume:
            limit_s = request.timeout.ToNanoseconds() / 1e9 if request.HasField("timeout") else None
            try:
                async with asyncio.timeout(limit_s):
                    while True:
                        news = fleet.news.next()
                        if not fleet.unfinished_turns():
                            break
                        await news.wait()
            except TimeoutError:
                pass  # the answer says how many are left
        return admin_pb2.DrainResponse(remaining=fleet.unfinished_turns())

    async def Doctor(self, request: admin_pb2.DoctorRequest, context: Context) -> admin_pb2.DoctorResponse:
        """See admin.proto."""
        return admin_pb2.DoctorResponse(
            checks=[
                admin_pb2.Check(name=check.name, status=_STATUSES[check.status], found=check.found, fix=check.fix)
                for check in await self._supervisor.examine()
            ]
        )

    async def Logs(self, request: admin_pb2.LogsRequest, context: Context) -> AsyncIterator[admin_pb2.LogsResponse]:
        """See admin.proto."""
        house = self._asks.house
        instance = self._asks.fleet.find(request.instance).record.id if request.HasField("instance") else ""
        tail = min(request.tail if request.tail > 0 else _DEFAULT_TAIL, _MAX_TAIL)
        if request.stderr and not instance:
            raise BadInput(
                what="no instance is named",
                next_step="say whose error output is wanted: `codexctl logs INSTANCE --stderr`",
            )
        if request.stderr:
            # Its lines bear no instance: the file is the instance's own.
            path, only = stderr_log(house, instance), ""
        else:
            path, only = log_file(house.paths), instance
        wanted = of_instance(only)
        async with contextlib.aclosing(read_log(path, tail=tail, follow=request.follow, wanted=wanted)) as lines:
            async for line in lines:
                yield admin_pb2.LogsResponse(
                    at=timestamp(line.at_ns) if line.at_ns is not None else None,
                    level=line.level,
                    message=line.message,
                    fields=line.fields,
                )

    async def Events(
        self, request: admin_pb2.EventsRequest, context: Context
    ) -> AsyncIterator[admin_pb2.EventsResponse]:
        """See admin.proto."""
        only = of_instance(self._asks.fleet.find(request.instance).record.id if request.HasField("instance") else "")
        tail = min(request.tail if request.tail > 0 else _DEFAULT_TAIL, _MAX_TAIL)
        path = log_file(self._asks.house.paths)

        def told(line: LogLine) -> bool:
            return only(line) and sentence_of(line) is not None

        async with contextlib.aclosing(read_log(path, tail=tail, follow=request.follow, wanted=told)) as lines:
            async for line in lines:
                fields = {name: value for name, value in line.fields.items() if name not in ("instance", "logger")}
                yield admin_pb2.EventsResponse(
                    at=timestamp(line.at_ns or 0),
                    level=line.level,
                    event=line.message,
                    instance=line.fields.get("instance", ""),
                    sentence=sentence_of(line) or "",
                    fields=fields,
                )

    async def Profiles(self, request: admin_pb2.ProfilesRequest, context: Context) -> admin_pb2.ProfilesResponse:
        """See admin.proto."""
        return admin_pb2.ProfilesResponse(
            profiles=[
                admin_pb2.Profile(
                    name=name,
                    effort=profile.effort,
                    model=profile.model,
                    summary=profile.summary,
                    developer_instructions=profile.developer_instructions,
                    sandbox=profile.sandbox,
                )
                for name, profile in sorted(all_profiles(self._asks.house.config).items())
            ]
        )
