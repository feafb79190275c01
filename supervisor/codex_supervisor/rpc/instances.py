"""The Instances service: starts, stops, sets, deletes and watches instances."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import msgspec
from codex_control.errors import BadInput
from codex_control.v1 import instances_pb2, instances_pb2_grpc

from codex_supervisor.config.choosing import profile
from codex_supervisor.instance.fleet import Fleet
from codex_supervisor.instance.shell import InstanceShell
from codex_supervisor.rpc.views import APPROVAL_POLICIES, ON_INTERRUPTED, instance_message
from codex_supervisor.store.records import SettingsRecord

Context = grpc.aio.ServicerContext[Any, Any]

# A stop may wait for a running turn, which has a time limit of its own.
_DEFAULT_TIMEOUT_S = 2 * 60 * 60.0


class InstancesServicer(instances_pb2_grpc.InstancesServicer):
    """Starts, stops, configures and shows instances."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def Start(self, request: instances_pb2.StartRequest, context: Context) -> instances_pb2.StartResponse:
        """See instances.proto."""
        if request.cwd:
            _check_cwd(request.cwd)
        shell = await self._fleet.find_or_make(request.instance, request.cwd)
        await shell.start(remaining_s(context))
        return instances_pb2.StartResponse(instance=instance_message(shell))

    async def Stop(self, request: instances_pb2.StopRequest, context: Context) -> instances_pb2.StopResponse:
        """See instances.proto."""
        shell = self._fleet.find(request.instance)
        await shell.stop(request.force, remaining_s(context))
        return instances_pb2.StopResponse(instance=instance_message(shell))

    async def Restart(self, request: instances_pb2.RestartRequest, context: Context) -> instances_pb2.RestartResponse:
        """See instances.proto."""
        shell = self._fleet.find(request.instance)
        await shell.restart(request.force, remaining_s(context))
        return instances_pb2.RestartResponse(instance=instance_message(shell))

    async def Get(
        self, request: instances_pb2.GetInstanceRequest, context: Context
    ) -> instances_pb2.GetInstanceResponse:
        """See instances.proto."""
        return instances_pb2.GetInstanceResponse(instance=instance_message(self._fleet.find(request.instance)))

    async def List(
        self, request: instances_pb2.ListInstancesRequest, context: Context
    ) -> instances_pb2.ListInstancesResponse:
        """See instances.proto."""
        shells = self._fleet.shells
        return instances_pb2.ListInstancesResponse(
            instances=[
                instance_message(shells[name])
                for name in sorted(shells)
                if request.include_tasks or shells[name].record.task is None
            ]
        )

    async def Configure(
        self, request: instances_pb2.ConfigureRequest, context: Context
    ) -> instances_pb2.ConfigureResponse:
        """See instances.proto."""
        # Checked before the instance is made: a refused request leaves nothing behind.
        if request.HasField("profile"):
            profile(self._fleet.house.config, request.profile)
        if request.HasField("cwd"):
            _check_cwd(request.cwd)
        shell = await self._fleet.find_or_make(request.instance, request.cwd)
        self._fleet.configure(shell, _changed(shell, request))
        return instances_pb2.ConfigureResponse(instance=instance_message(shell))

    async def Delete(
        self, request: instances_pb2.DeleteInstanceRequest, context: Context
    ) -> instances_pb2.DeleteInstanceResponse:
        """See instances.proto."""
        shell = self._fleet.find(request.instance)
        await self._fleet.delete(shell, request.force, remaining_s(context))
        return instances_pb2.DeleteInstanceResponse()

    async def Watch(
        self, request: instances_pb2.WatchInstancesRequest, context: Context
    ) -> AsyncIterator[instances_pb2.WatchInstancesResponse]:
        """See instances.proto."""
        only = self._fleet.find(request.instance) if request.HasField("instance") else None
        async for name, shell in self._fleet.watch(only, tasks=request.include_tasks):
            if shell is None:
                gone = instances_pb2.Instance(id=name)
                yield instances_pb2.WatchInstancesResponse(instance=gone, deleted=True)
            else:
                yield instances_pb2.WatchInstancesResponse(instance=instance_message(shell))


def remaining_s(context: Context) -> float:
    """Return the time that the client gives the call, or a long one where it names none."""
    # Without a deadline gRPC returns None, whatever its stubs say.
    remaining: float | None = context.time_remaining()
    return _DEFAULT_TIMEOUT_S if remaining is None else max(0.0, remaining)


def _changed(shell: InstanceShell, request: instances_pb2.ConfigureRequest) -> SettingsRecord:
    changes: dict[str, Any] = {
        name: getattr(request, name)
        for name in ("profile", "show_reasoning", "final_only", "cwd")
        if request.HasField(name)
    }
    if request.approval_policy:
        changes["approval_policy"] = APPROVAL_POLICIES.inverse(request.approval_policy)
    if request.on_interrupted:
        changes["on_interrupted"] = ON_INTERRUPTED.inverse(request.on_interrupted)
    return msgspec.structs.replace(shell.record.settings, **changes)


def _check_cwd(path: str) -> None:
    if not Path(path).is_absolute():
        raise BadInput(what=f"the working directory {path!r} is not absolute", next_step="send an absolute path")
    if not os.path.isdir(path):  # noqa: PTH112  pathlib raises for a name that is too long
        raise BadInput(what=f"there is no directory {path!r}", next_step="check the working directory")
