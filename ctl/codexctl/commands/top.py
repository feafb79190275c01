"""codexctl top: a live view of all instances."""

from __future__ import annotations

import click

from codexctl.session import Session, instance_argument, verb


@click.command("top")
@instance_argument
@click.option("--all", "all_instances", is_flag=True, help="Also the instances that run for tasks.")
@verb
def command(session: Session, instance: str | None, all_instances: bool) -> None:
    """Show all instances, or INSTANCE, live until Ctrl-C; in a pipe, one line for each change."""
    from codexctl.instance_ref import named

    ref = named(instance, "the command line") if instance else None
    client = session.client(start=False)

    from codex_control.v1.instances_pb2 import WatchInstancesRequest, WatchInstancesResponse

    from codexctl.output import put_message, table_width

    request = WatchInstancesRequest(instance=ref.ref() if ref else None, include_tasks=all_instances)
    if table_width() and not session.json:
        from codexctl.view.top_screen import show_live

        show_live(client, request)
        return
    for change in client.messages("Instances.Watch", request, WatchInstancesResponse):
        if session.json:
            put_message(change)
        else:
            _put_line(change)


def _put_line(change: object) -> None:
    from codex_control.v1.instances_pb2 import WatchInstancesResponse

    from codexctl.instance_table import row

    assert isinstance(change, WatchInstancesResponse)  # noqa: S101 # for the type checker: the messages are imported late
    cells = (change.instance.id, "deleted") if change.deleted else row(change.instance)
    click.echo("  ".join(cell or "-" for cell in cells))
