"""`codex-gateway requests`: what was asked, newest first."""

from __future__ import annotations

import click

from codex_gateway.paths import GatewayPaths


@click.command()
@click.option("--failed", is_flag=True, help="Only those that did not end well.")
@click.option("--client", default="", metavar="GLOB", help="Only of this program: claude-code, codex or other.")
@click.option("--token", default="", help="Only with this client token.")
@click.option(
    "--model", default="", metavar="GLOB", help="Only for this model, as the client or the endpoint calls it."
)
@click.option("--endpoint", default="", metavar="GLOB", help="Only answered by this endpoint.")
@click.option("--since", metavar="TIME", help="Only since then: 90s, 2h, 3d, or a date.")
@click.option("--grep", default="", metavar="TEXT", help="Only with this text in an error or a recorded body.")
@click.option(
    "--before", type=click.IntRange(1, 2**63 - 1), metavar="NUMBER", help="The page before this request's number."
)
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=30, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each.")
def requests(
    failed: bool,
    client: str,
    token: str,
    model: str,
    endpoint: str,
    since: str | None,
    grep: str,
    before: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """List recorded requests, newest first; also while no gateway runs."""
    from codex_gateway.commands.printing import (
        dollars,
        duration,
        local_time,
        nothing_recorded,
        put_json,
        put_table,
        since_ns,
    )
    from codex_gateway.record.query import Filter, opened

    wanted = Filter(
        failed=failed,
        client=client,
        token=token,
        model=model,
        endpoint=endpoint,
        since_ns=since_ns(since),
        grep=grep,
        before=before,
    )
    database = GatewayPaths.from_environment().database
    if nothing_recorded(database):
        return
    with opened(database) as records:
        found = records.requests(wanted, limit)
    if as_json:
        for record in found:
            put_json(record)
        return
    if not found:
        click.echo("no requests")
        return
    put_table(
        ("NUMBER", "AT", "CLIENT", "MODEL", "ENDPOINT", "TRIES", "STATUS", "FIRST BYTE", "TOOK", "IN", "OUT", "COST"),
        [
            (
                str(one.number),
                local_time(one.at_ns),
                one.client,
                one.model,
                one.endpoint,
                str(len(one.attempts)),
                one.outcome if one.outcome != "ok" else str(one.status),
                duration(one.first_byte_s),
                duration(one.duration_s) if one.outcome else "runs",
                str(one.usage.whole_input),
                str(one.usage.output),
                dollars(one.cost_usd),
            )
            for one in found
        ],
    )
    if len(found) == limit:
        click.echo(f"more: codex-gateway requests --before {found[-1].number}", err=True)
