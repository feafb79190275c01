"""codexctl version: what is installed and what runs."""

from __future__ import annotations

import click

from codexctl.session import Session, verb


@click.command("version")
@verb
def command(session: Session) -> None:
    """Print the versions of codexctl, of the running service and of Codex. Does not start the service."""
    from importlib.metadata import version as installed_version

    from codex_control.errors import ServiceUnavailable

    from codexctl.output import put, put_json

    own = installed_version("codex-supervisor")
    try:
        client = session.client(start=False)
    except ServiceUnavailable:
        if session.json:
            put_json({"codexctl": own, "service": None})
        else:
            put(f"codexctl {own}\nthe service is not running")
        return

    from codex_control.v1.admin_pb2 import VersionRequest, VersionResponse

    running = client.call("Admin.Version", VersionRequest(), VersionResponse)
    if session.json:
        from codexctl.json_form import to_json

        put_json({"codexctl": own, "service": to_json(running)})
        return
    put(f"codexctl {own}\ncodex-supervisor {running.version} (pid {running.pid})")
    put(f"codex {running.codex_version} ({running.codex_path})" if running.codex_version else "codex: not found")
    if running.version != own:
        put("the service runs another version: codexctl reload --exec starts the installed one")
