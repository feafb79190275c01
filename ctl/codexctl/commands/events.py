"""codexctl events: what the service decided, and why."""

from __future__ import annotations

import click

from codexctl.session import Session, instance_option, verb


@click.command("events")
@instance_option
@click.option("-f", "--follow", is_flag=True, help="Go on with new events.")
@click.option("-n", "--tail", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Old events.")
@verb
def command(session: Session, instance: str | None, follow: bool, tail: int) -> None:
    """Print what the service decided and why, a line each: all of it, or what concerns one instance."""
    from codexctl.instance_ref import named

    ref = named(instance, "the command line") if instance else None
    client = session.client(start=False)

    from codex_control.v1.admin_pb2 import EventsRequest, EventsResponse

    from codexctl.record_lines import print_records

    request = EventsRequest(instance=ref.ref() if ref else None, tail=tail, follow=follow)
    print_records(session, client.messages("Admin.Events", request, EventsResponse), _line, follow=follow)


def _line(event: object) -> str:
    from codex_control.v1.admin_pb2 import EventsResponse

    from codexctl.turn_table import local_time

    assert isinstance(event, EventsResponse)  # noqa: S101 # for the type checker: the messages are imported late
    # What went wrong stands out where nothing is coloured, as in a pipe.
    level = "" if event.level == "info" else f"[{event.level}] "
    about = f"{event.instance}: " if event.instance else ""
    return f"{local_time(event.at.seconds)} {level}{about}{event.sentence}"
