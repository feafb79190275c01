"""`codex-gateway stats`: requests summed up."""

from __future__ import annotations

import click

from codex_gateway.paths import GatewayPaths
from codex_gateway.record.stats import GROUPS


@click.command()
@click.option("--by", type=click.Choice(list(GROUPS)), default="endpoint", show_default=True, help="What is a group.")
@click.option("--since", metavar="TIME", help="Only since then: 90s, 2h, 3d, or a date.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each group.")
def stats(by: str, since: str | None, as_json: bool) -> None:
    """Sum up recorded requests: how many, how fast, how many tokens, what they cost."""
    from codex_gateway.commands.printing import dollars, duration, nothing_recorded, put_json, put_table, since_ns
    from codex_gateway.record.stats import sums

    since_then, database = since_ns(since), GatewayPaths.from_environment().database
    if nothing_recorded(database):
        return
    found = sums(database, by=by, since_ns=since_then)
    if as_json:
        for one in found:
            put_json(one)
        return
    if not found:
        click.echo("no requests")
        return
    put_table(
        (
            by.upper(),
            "REQUESTS",
            "FAILED",
            "RETRIED",
            "IN",
            "CACHED",
            "OUT",
            "COST",
            "FIRST BYTE p50",
            "p99",
            "TOOK p50",
            "p99",
        ),
        [
            (
                one.group,
                str(one.requests),
                str(one.failed),
                str(one.retried),
                str(one.input),
                str(one.cached),
                str(one.output),
                dollars(one.cost_usd),
                duration(one.first_byte_p50_s),
                duration(one.first_byte_p99_s),
                duration(one.duration_p50_s),
                duration(one.duration_p99_s),
            )
            for one in found
        ],
    )
