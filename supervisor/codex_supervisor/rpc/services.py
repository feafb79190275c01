"""The six services, put on one gRPC server."""

from __future__ import annotations

import grpc.aio
from codex_control.v1 import (
    admin_pb2_grpc,
    claude_pb2_grpc,
    history_pb2_grpc,
    instances_pb2_grpc,
    tasks_pb2_grpc,
    turns_pb2_grpc,
)

from codex_supervisor.claude.leases import Leases
from codex_supervisor.instance.asks import Asks
from codex_supervisor.rpc.admin import AdminServicer, Supervisor
from codex_supervisor.rpc.claude import ClaudeServicer
from codex_supervisor.rpc.history import HistoryServicer
from codex_supervisor.rpc.instances import InstancesServicer
from codex_supervisor.rpc.tasks import Intake, TasksServicer
from codex_supervisor.rpc.turns import TurnsServicer
from codex_supervisor.task.contract import Engine


def add_services(
    server: grpc.aio.Server,
    *,
    asks: Asks,
    leases: Leases,
    engine: Engine,
    intake: Intake | None,
    supervisor: Supervisor,
) -> None:
    """Have `server` answer all calls of the API; `intake` is None where tasks cannot be run."""
    instances_pb2_grpc.add_InstancesServicer_to_server(InstancesServicer(asks.fleet), server)
    turns_pb2_grpc.add_TurnsServicer_to_server(TurnsServicer(asks), server)
    history_pb2_grpc.add_HistoryServicer_to_server(HistoryServicer(asks.fleet), server)
    claude_pb2_grpc.add_ClaudeServicer_to_server(ClaudeServicer(leases), server)
    tasks_pb2_grpc.add_TasksServicer_to_server(TasksServicer(engine, intake, asks.house), server)
    admin_pb2_grpc.add_AdminServicer_to_server(AdminServicer(supervisor, asks), server)
