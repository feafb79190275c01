"""codexctl restart: replace an instance's child."""

from __future__ import annotations

import click

from codexctl.session import DURATION, Session, instance_argument, starting_verb


@click.command("restart")
@instance_argument
@click.option("--force", is_flag=True, help="Cut a running turn off and carry it on; without, it is finished first.")
@click.option("--timeout", type=DURATION, help="Longest wait; without, as long as the running turn takes.")
@starting_verb
def command(session: Session, instance: str | None, force: bool, timeout: float | None) -> None:
    """Replace the child of INSTANCE and wait until the new one is ready. Queued turns stay."""
    from codexctl.instance_ref import resolve_instance

    named = resolve_instance(instance, session.environ)

    from codex_control.v1.instances_pb2 import RestartRequest, RestartResponse

    from codexctl.instance_table import put_instance
    from codexctl.wait_notice import WaitNotice

    request = RestartRequest(instance=named.ref(), force=force)
    client = session.client(start=True)
    with WaitNotice(session, request.instance, until="ready", force=force):
        answer = client.call("Instances.Restart", request, RestartResponse, timeout_s=timeout)
    put_instance(session, answer.instance)
