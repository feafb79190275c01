"""codexctl start: bring an instance's child up."""

from __future__ import annotations

import click

from codexctl.session import DURATION, Session, instance_argument, starting_verb


@click.command("start")
@instance_argument
@click.option("--cwd", metavar="DIR", help="Working directory of a new instance.")
@click.option("--timeout", type=DURATION, default="2m", show_default=True, help="Longest wait.")
@starting_verb
def command(session: Session, instance: str | None, cwd: str | None, timeout: float) -> None:
    """Start the child of INSTANCE, which is made where it does not exist, and wait until it is ready.

    A new instance works in --cwd, else in the git root of the working directory.
    """
    from codexctl.instance_ref import git_root, resolve_instance, working_directory
    from codexctl.prompt_input import checked_directory

    named, directory = resolve_instance(instance, session.environ), checked_directory(cwd)
    if not directory and named.kind != "workspace":
        directory = str(git_root(working_directory()))

    from codex_control.v1.instances_pb2 import StartRequest, StartResponse

    from codexctl.instance_table import put_instance
    from codexctl.wait_notice import WaitNotice

    request = StartRequest(instance=named.ref(), cwd=directory)
    client = session.client(start=True)
    with WaitNotice(session, request.instance, until="ready"):
        answer = client.call("Instances.Start", request, StartResponse, timeout_s=timeout)
    put_instance(session, answer.instance)
