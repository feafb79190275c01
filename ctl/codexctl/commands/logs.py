"""codexctl logs: what the service, or a child, wrote."""

from __future__ import annotations

import click

from codexctl.session import Session, instance_argument, verb


@click.command("logs")
@instance_argument
@click.option("-f", "--follow", is_flag=True, help="Go on with new records.")
@click.option("-n", "--tail", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Old records.")
@click.option("--stderr", is_flag=True, help="The error output of the instance's child in place of the log.")
@verb
def command(session: Session, instance: str | None, follow: bool, tail: int, stderr: bool) -> None:
    """Print the service's log, or its records about INSTANCE."""
    from codexctl.instance_ref import named, resolve_instance

    ref = named(instance, "the command line") if instance else None
    if stderr and ref is None:
        ref = resolve_instance(None, session.environ)
    client = session.client(start=False)

    from codex_control.v1.admin_pb2 import LogsRequest, LogsResponse

    from codexctl.record_lines import print_records

    request = LogsRequest(instance=ref.ref() if ref else None, tail=tail, follow=follow, stderr=stderr)
    print_records(session, client.messages("Admin.Logs", request, LogsResponse), _line, follow=follow)


def _line(record: object) -> str:
    from codex_control.v1.admin_pb2 import LogsResponse

    from codexctl.turn_table import local_time

    assert isinstance(record, LogsResponse)  # noqa: S101 # for the type checker: the messages are imported late
    fields = " ".join(f"{key}={value}" for key, value in sorted(record.fields.items()))
    parts = (local_time(record.at.seconds), record.level and f"{record.level:<7}", record.message, fields)
    return " ".join(part for part in parts if part)
