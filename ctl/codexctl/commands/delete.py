"""codexctl delete: forget an instance."""

from __future__ import annotations

import click

from codexctl.session import Session, verb


@click.command("delete")
@click.argument("instance")
@click.option("--force", is_flag=True, help="Also where a turn runs: it is cut off.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@verb
def command(session: Session, instance: str, force: bool, yes: bool) -> None:
    """Stop the child of INSTANCE and forget the instance with its history."""
    from codexctl.confirming import confirm
    from codexctl.instance_ref import named

    name = named(instance, "the command line")
    confirm(f"Delete {name.value} and its whole history?", yes=yes)

    from codex_control.v1.instances_pb2 import DeleteInstanceRequest, DeleteInstanceResponse

    from codexctl.output import put, put_json

    request = DeleteInstanceRequest(instance=name.ref(), force=force)
    session.client(start=True).call("Instances.Delete", request, DeleteInstanceResponse, timeout_s=60)
    if session.json:
        put_json({})
    else:
        put(f"{name.value} is deleted")
