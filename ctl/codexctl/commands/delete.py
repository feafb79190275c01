"""codexctl delete: forget an instance."""

from __future__ import annotations

import click

from codexctl.session import Session, instance_argument, starting_verb


@click.command("delete")
@instance_argument
@click.option("--force", is_flag=True, help="Also where a turn runs: it is cut off.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@starting_verb
def command(session: Session, instance: str | None, force: bool, yes: bool) -> None:
    """Stop the child of INSTANCE and forget the instance with its history."""
    if instance is None:
        # Not the one of this directory: what is deleted is named.
        raise click.UsageError("no instance is named: codexctl delete INSTANCE")

    from codexctl.confirming import confirm
    from codexctl.instance_ref import named

    name = named(instance, "the command line")
    client = session.client(start=True)

    from codex_control.v1.instances_pb2 import (
        DeleteInstanceRequest,
        DeleteInstanceResponse,
        GetInstanceRequest,
        GetInstanceResponse,
    )

    # Nobody is asked about what does not exist.
    client.call("Instances.Get", GetInstanceRequest(instance=name.ref()), GetInstanceResponse)
    confirm(f"Delete {name.value} and its whole history?", yes=yes)

    from codexctl.output import put, put_json

    request = DeleteInstanceRequest(instance=name.ref(), force=force)
    client.call("Instances.Delete", request, DeleteInstanceResponse, timeout_s=60)
    if session.json:
        put_json({})
    else:
        put(f"{name.value} is deleted")
