"""`codex-gateway show`: one request with every attempt."""

from __future__ import annotations

import click

from codex_gateway.paths import GatewayPaths


@click.command()
@click.argument("request_id", metavar="ID")
@click.option("--bodies", is_flag=True, help="The recorded bodies too.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def show(request_id: str, bodies: bool, as_json: bool) -> None:
    """Show one request: its number or id, every attempt with its reason, tokens and cost."""
    import msgspec
    from codex_control.safe_text import one_line

    from codex_gateway.commands.printing import dollars, duration, local_time, put_json
    from codex_gateway.record.query import opened

    with opened(GatewayPaths.from_environment().database) as records:
        record = records.request(request_id)
        kept = records.bodies(record) if bodies else []
    if as_json:
        put_json(msgspec.to_builtins(record) | ({"bodies": kept} if bodies else {}))
        return
    usage = record.usage
    lines = [
        ("request", f"{record.number} · {record.id}"),
        ("at", local_time(record.at_ns)),
        ("client", f"{record.client} (token {record.token})"),
        ("asked", f"{record.dialect} {record.path} · model {record.model}{' · stream' if record.stream else ''}"),
        ("conversation", record.conversation),
        ("tags", ", ".join(record.tags)),
        ("outcome", f"{record.outcome or 'runs'} · HTTP {record.status or 'none yet'}"),
        ("error", record.error),
        ("first byte", duration(record.first_byte_s)),
        ("took", duration(record.duration_s)),
        (
            "tokens",
            (
                f"{usage.whole_input} in ({usage.cache_read} from the cache, {usage.cache_write} to it), "
                f"{usage.output} out ({usage.reasoning} reasoning)"
            ),
        ),
        ("cost", dollars(record.cost_usd) or "no price known (prices)"),
        ("bytes", f"{record.bytes_in} in, {record.bytes_out} out"),
    ]
    for name, text in lines:
        if text:
            click.echo(f"{name:<13} {one_line(text, 500)}")
    for number, attempt in enumerate(record.attempts, start=1):
        said = f"HTTP {attempt.status}" if attempt.status else "no answer"
        click.echo(
            f"attempt {number:<5} {attempt.endpoint} · {attempt.dialect} · {one_line(attempt.model)} · "
            f"{attempt.outcome or 'runs'} · {said} · after {duration(attempt.began_s)}, "
            f"took {duration(attempt.duration_s)}"
        )
        if attempt.reason:
            click.echo(f"{'':<13} {one_line(attempt.reason, 500)}")
        for fact in attempt.learned:
            click.echo(f"{'':<13} used: {one_line(fact)}")
    for body in kept:
        click.echo(f"\n--- {body.side}{f' in attempt {body.attempt}' if body.attempt else ''} ({body.size} bytes)")
        click.echo("\n".join(one_line(line, 10_000) for line in body.text.splitlines()))
    if bodies and not kept:
        click.echo("\nno bodies were recorded (records.bodies)")
