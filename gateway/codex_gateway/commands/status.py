"""`codex-gateway status`: how the gateway and its endpoints are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from codex_gateway.paths import GatewayPaths

if TYPE_CHECKING:
    from codex_gateway.record.stats import Sum


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def status(as_json: bool) -> int:
    """Show whether the gateway runs, how its endpoints are, what is under way, and today's figures.

    Exit code 3 where no gateway runs.
    """
    import msgspec
    from codex_control.errors import Exit, ServiceUnavailable
    from codex_control.gateway_paths import running_pid
    from codex_control.safe_text import one_line

    from codex_gateway.commands.printing import dollars, duration, local_time, put_json, put_table
    from codex_gateway.commands.service import managed, managed_line
    from codex_gateway.ingress.admin_messages import State
    from codex_gateway.running import RunningGateway

    paths = GatewayPaths.from_environment()
    gateway = RunningGateway.find(paths)
    state, silent = None, ""
    try:
        state = gateway.get("/admin/state", State) if gateway is not None else None
    except ServiceUnavailable as error:
        # What the service manager knows of one that hangs is wanted all the more.
        silent = str(error)
    today = _today(paths)
    service = managed()
    if as_json:
        put_json(
            {
                "running": state is not None,
                "gateway": None if state is None else msgspec.to_builtins(state.gateway),
                "endpoints": [] if state is None else msgspec.to_builtins(state.endpoints),
                "under_way": [] if state is None else msgspec.to_builtins(state.running),
                "service": service,
                "today": None if today is None else msgspec.to_builtins(today),
            }
        )
        return int(Exit.OK if state is not None else Exit.UNAVAILABLE)
    if state is None:
        pid = running_pid(paths)
        if silent:
            click.echo(f"gateway     {one_line(silent.removeprefix('the gateway '), 1000)}")
        elif pid is None:
            click.echo("gateway     does not run: start it with `codex-gateway serve` or `codex-gateway install --now`")
        else:
            click.echo(f"gateway     pid {pid} is starting or stopping")
    else:
        about = state.gateway
        draining = ", stopping" if about.draining else ""
        click.echo(
            f"gateway     runs on {about.url}, pid {about.pid}, version {about.version}, "
            f"since {local_time(about.started_ns)}{draining}"
        )
        if about.config_error:
            click.echo(f"config      NOT in force: {about.config_error}")
        ready = [one for one in state.endpoints if one.state in ("ready", "probing")]
        out = [one for one in state.endpoints if one.state == "out"]
        disabled = len(state.endpoints) - len(ready) - len(out)
        click.echo(f"endpoints   {len(ready)} up, {len(out)} out, {disabled} disabled")
        for one in out:
            click.echo(f"            {one.name} is out: {one_line(one.why, 300)}")
        click.echo(f"under way   {len(state.running)} requests")
    if service is not None:
        click.echo(f"service     {one_line(managed_line(service), 1000)}")
    if today is not None:
        cost = f", {dollars(today.cost_usd)}" if today.cost_usd is not None else ""
        click.echo(
            f"today       {today.requests} requests, {today.failed} failed, "
            f"{today.input} tokens in, {today.output} out{cost}"
        )
    if state is not None and state.running:
        put_table(
            ("REQUEST", "AGE", "CLIENT", "MODEL", "ENDPOINT", "TRIES", "FIRST BYTE", "BYTES OUT"),
            [
                (
                    one.id,
                    duration(one.age_s),
                    one.client,
                    one.model,
                    one.endpoint,
                    str(one.attempts),
                    duration(one.first_byte_s),
                    str(one.bytes_out),
                )
                for one in state.running
            ],
        )
    return int(Exit.OK if state is not None else Exit.UNAVAILABLE)


def _today(paths: GatewayPaths) -> Sum | None:
    from datetime import datetime

    from codex_gateway.record.stats import total

    if not paths.database.exists():
        return None
    midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    return total(paths.database, since_ns=int(midnight.timestamp()) * 10**9)
