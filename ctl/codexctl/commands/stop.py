"""codexctl stop: end an instance's child."""

from __future__ import annotations

import click

from codexctl.session import DURATION, Session, instance_argument, verb


@click.command("stop")
@instance_argument
@click.option("--force", is_flag=True, help="Cut a running turn off; without, it is finished first.")
@click.option("--timeout", type=DURATION, help="Longest wait; without, as long as the running turn takes.")
@verb
def command(session: Session, instance: str | None, force: bool, timeout: float | None) -> None:
    """Stop the child of INSTANCE and wait until every process of it is gone. Queued turns are cancelled."""
    from codexctl.instance_ref import resolve_instance

    named = resolve_instance(instance, session.environ)

    from codex_control.v1.instances_pb2 import StopRequest, StopResponse

    from codexctl.instance_table import put_instance
    from codexctl.wait_notice import WaitNotice

    request = StopRequest(instance=named.ref(), force=force)
    client = session.client(start=False)
    with WaitNotice(session, request.instance, until="gone", force=force):
        answer = client.call("Instances.Stop", request, StopResponse, timeout_s=timeout)
    put_instance(session, answer.instance)
