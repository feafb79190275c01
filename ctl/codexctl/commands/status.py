"""codexctl status: how the service and its instances are."""

from __future__ import annotations

import click

from codexctl.session import Session, instance_argument, verb


@click.command("status")
@instance_argument
@click.option("--all", "all_instances", is_flag=True, help="Also the instances that run for tasks.")
@verb
def command(session: Session, instance: str | None, all_instances: bool) -> None:
    """Show the service and all instances, or everything about INSTANCE. Does not start the service."""
    client = session.client(start=False)

    from codexctl import instance_table
    from codexctl.output import put, put_json, put_message, table_width

    if instance is not None:
        from codex_control.v1.instances_pb2 import GetInstanceRequest, GetInstanceResponse

        from codexctl.instance_ref import named

        request = GetInstanceRequest(instance=named(instance, "the command line").ref())
        one = client.call("Instances.Get", request, GetInstanceResponse).instance
        if session.json:
            put_message(one)
        else:
            for label, value in instance_table.facts(one):
                put(f"{label:<16} {value}")
        return

    from codex_control.v1.admin_pb2 import VersionRequest, VersionResponse
    from codex_control.v1.instances_pb2 import ListInstancesRequest, ListInstancesResponse

    from codexctl.task_listing import counts_if_known

    version = client.call("Admin.Version", VersionRequest(), VersionResponse)
    request_all = ListInstancesRequest(include_tasks=all_instances)
    instances = client.call("Instances.List", request_all, ListInstancesResponse).instances
    counts = counts_if_known(client)
    if session.json:
        from codexctl.json_form import to_json

        put_json(
            {
                "service": to_json(version),
                "instances": [to_json(one) for one in instances],
                "tasks": to_json(counts) if counts else None,
            }
        )
        return
    for line in instance_table.service_lines(version, table_width()):
        put(line)
    if counts is not None:
        from codexctl.task_table import counts_line

        if line := counts_line(counts):
            put(line)
    if instances:
        instance_table.put_instances(instances)
    else:
        put('no instances yet; codexctl ask "..." makes one')
