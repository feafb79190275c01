"""codexctl shutdown: end the service."""

from __future__ import annotations

import click

from codexctl.session import DURATION, Session, verb


@click.command("shutdown")
@click.option("--timeout", type=DURATION, default="90s", show_default=True, help="Longest wait until it is gone.")
@verb
def command(session: Session, timeout: float) -> None:
    """End the service with all its children, and wait until it is gone.

    Through systemd or launchd where they run it, else by a signal. Running turns are cut off and carried on by the next
    service: `codexctl drain` before this lets them end first. What starts the service starts it again.
    """
    from codex_control.errors import CodexError

    from codexctl.ending import end, find_listener, living_children
    from codexctl.output import put, put_json

    listener = find_listener(session.paths, dict(session.environ))
    if listener is None:
        if session.json:
            put_json({"ended": False, "pid": 0, "running_turns": 0, "children": living_children(session.paths)})
        else:
            put("the service is not running")
            _tell_of_children(living_children(session.paths))
        return
    try:
        turns = _running_turns(session)
    except CodexError:
        turns = 0  # one that does not answer is ended all the same
    session.close()
    end(listener, timeout)
    children = living_children(session.paths)
    if session.json:
        put_json({"ended": True, "pid": listener.pid, "running_turns": turns, "children": children})
        return
    by = f" through {listener.manager}" if listener.manager else ""
    put(f"the service (pid {listener.pid}) has ended{by}")
    if turns:
        put(f"{'1 turn was' if turns == 1 else f'{turns} turns were'} cut off: the next service carries on")
    _tell_of_children(children)


def _running_turns(session: Session) -> int:
    from codex_control.v1.admin_pb2 import VersionRequest, VersionResponse

    return (
        session.client(start=False).call("Admin.Version", VersionRequest(), VersionResponse, timeout_s=5).running_turns
    )


def _tell_of_children(count: int) -> None:
    from codexctl.output import put

    if count:
        put(f"{'1 child runs' if count == 1 else f'{count} children run'} on: the next service adopts or ends them")
