"""The JSON Schema of everything that `--json` prints; run as a module, it writes docs/codexctl.schema.json."""

from __future__ import annotations

import sys
from typing import Any

from codex_control.v1.admin_pb2 import (
    Check,
    DrainResponse,
    EventsResponse,
    LogsResponse,
    Profile,
    ReloadResponse,
    VersionResponse,
)
from codex_control.v1.history_pb2 import ClearResponse
from codex_control.v1.instances_pb2 import Instance, Settings, WatchInstancesResponse
from codex_control.v1.tasks_pb2 import CountTasksResponse, PruneTasksResponse, Task, TaskEvent, TaskLogsResponse
from codex_control.v1.turns_pb2 import RespondResponse, SteerResponse, Turn, TurnEvent
from google.protobuf.message import Message

from codexctl.json_form import json_schema

PRINTED: tuple[type[Message], ...] = (
    Check,
    ClearResponse,
    CountTasksResponse,
    DrainResponse,
    EventsResponse,
    Instance,
    LogsResponse,
    Profile,
    PruneTasksResponse,
    ReloadResponse,
    RespondResponse,
    Settings,
    SteerResponse,
    Task,
    TaskEvent,
    TaskLogsResponse,
    Turn,
    TurnEvent,
    VersionResponse,
    WatchInstancesResponse,
)
"""Messages that a verb prints by themselves."""


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _of(message: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{message}"}


def _list_of(message: str) -> dict[str, Any]:
    return {"type": "array", "items": _of(message)}


_TEXT = {"type": "string"}

_EXTRA: dict[str, Any] = {
    "Error": _object(
        error=_object(reason=_TEXT, what=_TEXT, why=_TEXT, next=_TEXT, exit_code={"type": "integer"}),
    ),
    "Status": _object(
        service=_of("VersionResponse"),
        instances=_list_of("Instance"),
        tasks={"anyOf": [_of("CountTasksResponse"), {"type": "null"}]},
    ),
    "Checks": _list_of("Check"),
    "Profiles": _list_of("Profile"),
    "Versions": _object(codexctl=_TEXT, service={"anyOf": [_of("VersionResponse"), {"type": "null"}]}),
    "Health": _object(
        status={"enum": ["serving", "not_serving", "unknown", "service_unknown"]},
        tasks=_object(engine=_TEXT, trouble=_TEXT),
    ),
    "Nothing": _object(),
    "ClaudePlugin": _object(
        plugin=_TEXT,
        installed={"type": "boolean"},
        path=_TEXT,
        claude=_TEXT,
        gate={"anyOf": [_of("GateLimits"), {"type": "null"}]},
    ),
    "GateLimits": _object(rounds={"type": "integer"}, tokens={"type": "integer"}),
    "Gate": _object(gate={"anyOf": [_of("GateLimits"), {"type": "null"}]}),
    "Segment": _object(text=_TEXT),
    "Shutdown": _object(
        ended={"type": "boolean"},
        pid={"type": "integer"},
        running_turns={"type": "integer"},
        children={"type": "integer"},
    ),
}

VERBS: dict[str, str] = {
    "approve": "RespondResponse",
    "ask": "TurnEvent",
    "attach": "TurnEvent",
    "claude gate": "Gate",
    "claude install": "ClaudePlugin",
    "claude status": "ClaudePlugin",
    "claude uninstall": "ClaudePlugin",
    "config get": "Settings",
    "config set": "Settings",
    "delete": "Nothing",
    "deny": "RespondResponse",
    "doctor": "Checks",
    "drain": "DrainResponse",
    "events": "EventsResponse",
    "health": "Health",
    "history": "Turn",
    "history --clear": "ClearResponse",
    "interrupt": "Turn",
    "logs": "LogsResponse",
    "profiles": "Profiles",
    "reload": "ReloadResponse",
    "restart": "Instance",
    "review": "TurnEvent",
    "shutdown": "Shutdown",
    "start": "Instance",
    "status": "Status",
    "status INSTANCE": "Instance",
    "statusline": "Segment",
    "steer": "SteerResponse",
    "stop": "Instance",
    "task cancel": "Task",
    "task list": "Task",
    "task logs": "TaskLogsResponse",
    "task prune": "PruneTasksResponse",
    "task result": "Task",
    "task retry": "Task",
    "task show": "Task",
    "task submit": "Task",
    "task wait": "Task",
    "task watch": "TaskEvent",
    "top": "WatchInstancesResponse",
    "turns": "Turn",
    "version": "Versions",
}
"""For each verb, the definition that each line of its output fits. A verb that fails ends with an Error."""


def printed_schema() -> dict[str, Any]:
    """The whole schema."""
    schema = json_schema(*PRINTED)
    schema["$defs"] = dict(sorted((schema["$defs"] | _EXTRA).items()))
    return schema


if __name__ == "__main__":
    import json

    json.dump(printed_schema(), sys.stdout, indent=1)
    sys.stdout.write("\n")
