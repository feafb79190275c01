"""codexctl reload: read the configuration again, or run a newly installed version."""

from __future__ import annotations

import click

from codexctl.session import Session, verb


@click.command("reload")
@click.option("--exec", "execute", is_flag=True, help="Replace the service's program by the installed version.")
@verb
def command(session: Session, execute: bool) -> None:
    """Read the configuration again; a bad one changes nothing. Turns go on, also with --exec."""
    client = session.client(start=False)

    from codex_control.v1.admin_pb2 import ReloadRequest, ReloadResponse

    from codexctl.output import put, put_message

    answer = client.call("Admin.Reload", ReloadRequest(exec=execute), ReloadResponse, timeout_s=60)
    if session.json:
        put_message(answer)
        return
    if execute:
        put("the service replaces its program")
        return
    put(f"in force: {', '.join(answer.applied)}" if answer.applied else "nothing has changed")
    if answer.needs_restart:
        put(f"waits for a restart of the service: {', '.join(answer.needs_restart)}")
