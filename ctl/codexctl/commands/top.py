"""codexctl top: a live view of all instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from codexctl.session import Session, instance_argument, verb

if TYPE_CHECKING:
    from codex_control.v1.instances_pb2 import Instance, WatchInstancesRequest, WatchInstancesResponse

    from codexctl.client import Client


@click.command("top")
@instance_argument
@click.option("--all", "all_instances", is_flag=True, help="Also the instances that run for tasks.")
@click.option("--once", is_flag=True, help="Show them as they are now, and end.")
@verb
def command(session: Session, instance: str | None, all_instances: bool, once: bool) -> None:
    """Show all instances, or INSTANCE, live until Ctrl-C.

    In a pipe: first a line for each instance, then one for each change, until Ctrl-C or the end of the reader; with
    --once the first lines alone.
    """
    from codexctl.instance_ref import named

    ref = named(instance, "the command line") if instance else None
    client = session.client(start=False)

    from codex_control.v1.instances_pb2 import WatchInstancesRequest, WatchInstancesResponse

    from codexctl import instance_table
    from codexctl.output import end_with_reader, put_message, table_width

    request = WatchInstancesRequest(instance=ref.ref() if ref else None, include_tasks=all_instances)
    if once:
        found = _as_they_are(client, request)
        if session.json:
            for one in found:
                put_message(WatchInstancesResponse(instance=one))
        else:
            instance_table.put_instances(found)
        return
    if table_width() and not session.json:
        from codexctl.view.top_screen import show_live

        show_live(client, request)
        return
    end_with_reader()
    for change in client.messages("Instances.Watch", request, WatchInstancesResponse):
        if session.json:
            put_message(change)
        else:
            _put_line(change)


def _as_they_are(client: Client, request: WatchInstancesRequest) -> list[Instance]:
    from codex_control.v1.instances_pb2 import (
        GetInstanceRequest,
        GetInstanceResponse,
        ListInstancesRequest,
        ListInstancesResponse,
    )

    if request.HasField("instance"):
        wanted = GetInstanceRequest(instance=request.instance)
        return [client.call("Instances.Get", wanted, GetInstanceResponse).instance]
    listed = ListInstancesRequest(include_tasks=request.include_tasks)
    return list(client.call("Instances.List", listed, ListInstancesResponse).instances)


def _put_line(change: WatchInstancesResponse) -> None:
    from codexctl.instance_table import row

    cells = (change.instance.id, "deleted") if change.deleted else row(change.instance)
    click.echo("  ".join(cell or "-" for cell in cells))
