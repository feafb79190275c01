"""The Claude service: binds sessions of Claude Code to instances, and hears of their ends."""

from __future__ import annotations

from typing import Any

import grpc.aio
from codex_control.errors import BadInput
from codex_control.v1 import claude_pb2, claude_pb2_grpc, instances_pb2

from codex_supervisor.claude.binding import Source
from codex_supervisor.claude.leases import Leases
from codex_supervisor.rpc.views import instance_message
from codex_supervisor.store.records import LeaseRecord
from codex_supervisor.turn.messages import timestamp

Context = grpc.aio.ServicerContext[Any, Any]

_SOURCES = {
    # A word that Claude Code has and we do not know is a start: it changes least.
    claude_pb2.SESSION_SOURCE_UNSPECIFIED: Source.STARTUP,
    claude_pb2.SESSION_SOURCE_STARTUP: Source.STARTUP,
    claude_pb2.SESSION_SOURCE_RESUME: Source.RESUME,
    claude_pb2.SESSION_SOURCE_CLEAR: Source.CLEAR,
    claude_pb2.SESSION_SOURCE_COMPACT: Source.COMPACT,
}

_REASONS = {
    claude_pb2.SESSION_END_REASON_CLEAR: "clear",
    claude_pb2.SESSION_END_REASON_PROMPT_INPUT_EXIT: "prompt_input_exit",
}


class ClaudeServicer(claude_pb2_grpc.ClaudeServicer):
    """Ties instances to Claude Code processes."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    async def Bind(self, request: claude_pb2.BindRequest, context: Context) -> claude_pb2.BindResponse:
        """See claude.proto."""
        if not request.HasField("process"):
            raise BadInput(what="no process is named", next_step="send the pid of the Claude Code process")
        process = request.process
        source = _SOURCES.get(request.source, Source.STARTUP)
        made = await self._leases.bind(request.session_id, process.pid, process.start_time, request.cwd, source)
        return claude_pb2.BindResponse(
            instance=instance_message(made.shell), process=_process_message(made.lease), created=made.created
        )

    async def End(self, request: claude_pb2.EndRequest, context: Context) -> claude_pb2.EndResponse:
        """See claude.proto."""
        self._leases.end(request.session_id, _REASONS.get(request.reason, "other"))
        return claude_pb2.EndResponse()

    async def Sessions(self, request: claude_pb2.SessionsRequest, context: Context) -> claude_pb2.SessionsResponse:
        """See claude.proto."""
        return claude_pb2.SessionsResponse(
            sessions=[
                claude_pb2.ClaudeSession(
                    session_id=lease.session,
                    process=_process_message(lease),
                    instance=shell.record.id,
                    bound_at=timestamp(lease.bound_ns),
                    gone_at=timestamp(lease.gone_ns) if lease.gone_ns is not None else None,
                )
                for shell, lease in self._leases.all()
            ]
        )


def _process_message(lease: LeaseRecord) -> instances_pb2.ClaudeProcess:
    return instances_pb2.ClaudeProcess(pid=lease.pid, start_time=lease.start_time)
