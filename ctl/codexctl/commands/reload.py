"""codexctl reload: read the configuration again, or run a newly installed version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from codexctl.session import DURATION, Session, verb

if TYPE_CHECKING:
    from codex_control.v1.admin_pb2 import VersionResponse

    from codexctl.client import Client

_POLL_S = 0.05
_PROVIDER = "codex.provider"


@click.command("reload")
@click.option("--exec", "execute", is_flag=True, help="Replace the service's program by the installed version.")
@click.option(
    "--timeout",
    type=DURATION,
    default="60s",
    show_default=True,
    help="With --exec: longest wait until the new program answers.",
)
@verb
def command(session: Session, execute: bool, timeout: float) -> None:
    """Read the configuration again; a bad one changes nothing. Turns go on, also with --exec.

    With --exec it returns when the new program answers.
    """
    client = session.client(start=False)

    from codex_control.v1.admin_pb2 import ReloadRequest, ReloadResponse

    from codexctl.output import put, put_message

    before = _version(client) if execute else None
    answer = client.call("Admin.Reload", ReloadRequest(exec=execute), ReloadResponse, timeout_s=60)
    after = _next_program(session, before, timeout) if before else None
    if session.json:
        put_message(answer)
        return
    if after:
        put(f"the service has replaced its program: codex-supervisor {after.version} (pid {after.pid})")
        return
    applied = list(answer.applied)
    if _PROVIDER in applied and _version(client).demo_model:
        applied.remove(_PROVIDER)
        put(
            f"waits for the end of the demo: {_PROVIDER} (the demo model answers until `codexctl reload --exec`; with "
            "codex.demo_model in the configuration, as long as that is true)"
        )
    elif not applied:
        put("nothing has changed")
    if applied:
        put(f"in force: {', '.join(applied)}")
    if answer.needs_restart:
        put(f"waits for a restart of the service: {', '.join(answer.needs_restart)}")


def _next_program(session: Session, before: VersionResponse, timeout_s: float) -> VersionResponse:
    """Return what the program that took the place of `before` says of itself, once it answers."""
    import time

    from codex_control.errors import ServiceUnavailable, TimedOut

    deadline = time.monotonic() + timeout_s
    # Whoever has it again keeps its pid: the time of its start tells it from the one before.
    while time.monotonic() < deadline:
        session.close()
        try:
            version = _version(session.client(start=False))
        except (ServiceUnavailable, TimedOut):
            pass  # the one is gone, and the other has not come yet
        else:
            if version.started_at != before.started_at:
                return version
        time.sleep(_POLL_S)
    raise ServiceUnavailable(
        "the service was told to replace its program, and the new one does not answer",
        why=f"nothing new answers on {session.paths.control_socket} after {timeout_s:g} s",
        next_step="`codexctl logs` and log/serve.log (or the journal) say what it does",
    )


def _version(client: Client) -> VersionResponse:
    from codex_control.v1.admin_pb2 import VersionRequest, VersionResponse

    return client.call("Admin.Version", VersionRequest(), VersionResponse, timeout_s=5)
