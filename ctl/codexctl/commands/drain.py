"""codexctl drain: let the service come to rest."""

from __future__ import annotations

import click

from codexctl.session import DURATION, Session, verb


@click.command("drain")
@click.option("--timeout", type=DURATION, help="Longest wait; without, as long as the turns take.")
@click.option("--resume", is_flag=True, help="End a drain: new turns are accepted again.")
@verb
def command(session: Session, timeout: float | None, resume: bool) -> int:
    """Accept no new turns and wait until the running and queued ones have ended.

    Exit code 8 where some have not ended within --timeout.
    """
    from codex_control.errors import Exit

    client = session.client(start=False)

    from codex_control.v1.admin_pb2 import DrainRequest, DrainResponse

    from codexctl.output import put, put_message

    request = DrainRequest(resume=resume)
    if timeout is not None:
        request.timeout.FromNanoseconds(int(timeout * 1e9))
    # The service keeps the time; the call only has to outlive it.
    limit_s = timeout + 10 if timeout is not None else None
    answer = client.call("Admin.Drain", request, DrainResponse, timeout_s=limit_s)
    if session.json:
        put_message(answer)
    elif resume:
        put("new turns are accepted again")
    else:
        put("at rest" if not answer.remaining else f"{answer.remaining} turns have not ended")
    return Exit.TIMED_OUT if answer.remaining and not resume else Exit.OK
