"""Instances and the service as lines for people."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from codex_control.safe_text import bytes_text, duration_text, one_line
from codex_control.v1.admin_pb2 import VersionResponse
from codex_control.v1.instances_pb2 import Instance, InstanceState

from codexctl.json_form import enum_name
from codexctl.output import put, put_message, put_table, table_width
from codexctl.session import Session

HEADINGS = ("INSTANCE", "STATE", "PID", "SINCE", "PROFILE", "TURN", "QUEUE", "RESTARTS", "MEMORY", "DETAIL")

EXPENDABLE = ("QUEUE", "PROFILE", "RESTARTS", "MEMORY", "SINCE", "TURN", "DETAIL")
"""What a narrow terminal goes without, first to last; the instance, its state and its pid are always whole."""


def state_name(state: InstanceState) -> str:
    """The state's name as it is in metrics and logs."""
    return InstanceState.Name(state).removeprefix("INSTANCE_STATE_").lower()


def row(instance: Instance) -> tuple[str, ...]:
    """One instance under `HEADINGS`."""
    return (
        instance.id,
        state_name(instance.state),
        str(instance.child.pid or ""),
        _ago(instance.since.seconds),
        instance.settings.profile,
        instance.turn_id,
        str(instance.queued),
        str(instance.restarts),
        bytes_text(instance.child.memory_bytes),
        instance.detail,
    )


def service_lines(version: VersionResponse, width: int = 0) -> Iterator[str]:
    """What is to be known about the service: one line, and one for everything that is not as it should be.

    Where the first one is longer than `width`, the address in it has a line of its own, whole.
    """
    parts = [
        f"codex-supervisor {version.version}",
        f"up {_ago(version.started_at.seconds)}",
        f"pid {version.pid}",
        f"codex {version.codex_version or 'not found'}",
    ]
    if version.draining:
        parts.append(f"draining, {version.running_turns} turns run")
    line = one_line(" · ".join(parts))
    if not version.metrics_url:
        yield line
    elif 0 < width < len(line) + len(version.metrics_url) + 3:
        yield from (line, one_line(version.metrics_url))
    else:
        yield one_line(f"{line} · {version.metrics_url}")
    if version.demo_model:
        yield "demo model: the answers come from a built-in stand-in, not from OpenAI"
    for sentence in version.degraded:
        yield f"degraded: {one_line(sentence, 500)}"


def facts(instance: Instance) -> Iterator[tuple[str, str]]:
    """Everything about one instance, as label and value; what is empty is left out."""
    for label, value in _facts(instance):
        if value:
            yield label, one_line(value, 500)
    for line in instance.stderr_tail:
        yield "stderr", one_line(line, 500)


def _facts(instance: Instance) -> Iterator[tuple[str, str]]:
    settings, child = instance.settings, instance.child
    yield "instance", instance.id
    yield "state", f"{state_name(instance.state)} for {_ago(instance.since.seconds)}"
    yield "detail", instance.detail
    yield "workspace", instance.workspace
    yield "claude session", instance.claude_session
    yield "thread", instance.thread_id
    yield "turn", instance.turn_id
    yield "queued", str(instance.queued)
    yield "restarts", str(instance.restarts)
    yield "known for", _ago(instance.created_at.seconds)
    if instance.HasField("child"):
        yield "child", f"pid {child.pid}, codex {child.codex_version}" + (", adopted" if child.adopted else "")
        yield "child up", _ago(child.started_at.seconds)
        yield "memory", bytes_text(child.memory_bytes)
        yield "cpu", duration_text(child.cpu.ToTimedelta().total_seconds())
    for field in settings.DESCRIPTOR.fields:
        yield field.name, setting_text(instance, field.name)


def setting_text(instance: Instance, name: str) -> str:
    """One setting as it is typed in `codexctl config set`."""
    enum = instance.settings.DESCRIPTOR.fields_by_name[name].enum_type
    value = getattr(instance.settings, name)
    if enum is not None:
        return enum_name(enum, value) or ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _ago(since_s: int) -> str:
    """How long ago a time in seconds since the epoch was; the service's clock is ours."""
    return duration_text(max(0, int(time.time_ns() // 10**9 - since_s))) if since_s else ""


def put_instances(instances: Iterable[Instance]) -> None:
    """Print the table of `instances`."""
    put_table(HEADINGS, [row(one) for one in instances], width=table_width(), expendable=EXPENDABLE)


def put_instance(session: Session, instance: Instance) -> None:
    """Print an instance that was changed: its id and state, or all of it as JSON."""
    if session.json:
        put_message(instance)
    else:
        put(f"{instance.id}: {state_name(instance.state)}")
