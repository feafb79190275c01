"""`codex-gateway endpoints list|test|enable|disable|reset|reorder`: the upstream model APIs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from codex_gateway.commands.listing import ListingGroup
from codex_gateway.paths import GatewayPaths

if TYPE_CHECKING:
    from codex_gateway.config.model import Config
    from codex_gateway.ingress.admin_messages import EndpointState


def _complete_endpoint(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 # click's
    """Names of endpoints that begin with what was typed."""
    from codex_control.errors import CodexError

    from codex_gateway.config.reading import load_config

    try:
        there = load_config(GatewayPaths.from_environment().config_file).endpoints
    except CodexError:
        return []
    return [one.name for one in there if one.name.startswith(incomplete)]


@click.group(cls=ListingGroup)
def endpoints() -> None:
    """List, test, switch and reorder the upstream model APIs. Without a command: list."""


@endpoints.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each.")
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Below the table: how each key is, by its name, and each endpoint's last errors.",
)
def list_endpoints(as_json: bool, verbose: bool) -> None:
    """List all endpoints, and how they are where a gateway runs."""
    from codex_gateway.commands.printing import duration, put_json, put_table
    from codex_gateway.ingress.admin_messages import State
    from codex_gateway.running import RunningGateway

    paths = GatewayPaths.from_environment()
    gateway = RunningGateway.find(paths)
    if gateway is not None:
        state = gateway.get("/admin/state", State)
        found: Sequence[EndpointState] = state.endpoints
        if state.gateway.config_error:
            click.echo(f"the configuration file is not in force: {state.gateway.config_error}", err=True)
    else:
        found = _configured(paths)
        click.echo("no gateway runs: this is the configuration, and how they are is not known", err=True)
    if as_json:
        for one in found:
            put_json(one)
        return
    if not found:
        click.echo(f"there is no endpoint: add one to {paths.config_file} (`codex-gateway config reference`)")
        return
    put_table(
        ("NAME", "STATE", "PRIORITY", "WEIGHT", "DIALECTS", "RUNNING", "KEYS", "LEARNED", "URL", "WHY"),
        [
            (
                one.name,
                one.state,
                str(one.priority),
                str(one.weight),
                ",".join(one.dialects),
                str(one.running) if gateway is not None else "?",
                _keys(one, known=gateway is not None),
                str(one.facts) if gateway is not None else "?",
                one.url,
                one.why,
            )
            for one in found
        ],
    )
    if not verbose:
        return
    for one in found:
        for key in one.keys:
            out = f", out for {duration(key.out_for_s)}" if key.out_for_s else ""
            state_of_key = key.why or ("enabled" if key.enabled else "disabled")
            click.echo(f"{one.name}: key {key.name} (weight {key.weight}): {state_of_key}{out}")
        for error in one.last_errors:
            from codex_control.safe_text import one_line

            from codex_gateway.commands.printing import local_time

            said = one_line(f"{error.outcome} (HTTP {error.status or 'none'}): {error.reason}", 300)
            click.echo(f"{one.name}: {local_time(error.at_ns)} {said}")


def _keys(state: EndpointState, *, known: bool) -> str:
    if not state.keys:
        return ""
    well = sum(key.enabled and not key.why for key in state.keys)
    return f"{well} of {len(state.keys)}" if known else str(len(state.keys))


def _configured(paths: GatewayPaths) -> list[EndpointState]:
    from codex_gateway.config.reading import load_config
    from codex_gateway.ingress.admin_messages import KeyState, state_of

    return [
        state_of(
            endpoint,
            "enabled" if endpoint.enabled else "disabled",
            [KeyState(name=key.name, weight=key.weight, enabled=key.enabled) for key in endpoint.auth.pool()],
        )
        for endpoint in load_config(paths.config_file).endpoints
    ]


@endpoints.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_complete_endpoint)
@click.option("--model", default="", help="The model to ask for, by the client's name.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0.1, 300),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long each request may take until its answer begins, and between two pieces of it.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each request.")
def test(names: tuple[str, ...], model: str, timeout_s: float, as_json: bool) -> int:
    """Send each endpoint one cheap, real request in each of its dialects with each of its keys; it may cost a few
    tokens.

    Without a NAME all that are enabled are tried. Needs a running gateway. Exit code 1 where one failed.
    """
    import msgspec

    from codex_gateway.commands.printing import duration, put_json, put_table
    from codex_gateway.ingress.admin_messages import State, TrialRequest, Trials
    from codex_gateway.running import TIMEOUT_S, RunningGateway

    gateway = RunningGateway.needed(GatewayPaths.from_environment())
    there = gateway.get("/admin/state", State).endpoints
    tried = names or tuple(one.name for one in there if one.state != "disabled")
    if not tried:
        click.echo("there is no endpoint that is enabled", err=True)
        return 1
    requests = {one.name: len(one.dialects) * max(1, sum(key.enabled for key in one.keys)) for one in there}
    rows, failed = [], False
    for name in tried:
        request = TrialRequest(name=name, model=model, timeout_s=timeout_s)
        # Each may be sent twice, where another way to show the key is tried.
        longest_s = TIMEOUT_S + timeout_s * 2 * 2 * requests.get(name, 1)
        for one in gateway.post("/admin/endpoints/test", request, Trials, timeout_s=longest_s).results:
            failed = failed or not one.well
            if as_json:
                put_json({"endpoint": name} | msgspec.to_builtins(one))
                continue
            rows.append(
                (
                    name,
                    str(one.dialect),
                    "well" if one.well else "failed",
                    str(one.status or ""),
                    duration(one.first_byte_s),
                    duration(one.duration_s),
                    one.model,
                    one.key,
                    one.why,
                )
            )
    if not as_json:
        put_table(("NAME", "DIALECT", "RESULT", "STATUS", "FIRST BYTE", "TOOK", "MODEL", "KEY", "WHY"), rows)
    return int(failed)


@endpoints.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_complete_endpoint)
@click.option("--json", "as_json", is_flag=True, help="Say what holds now as one JSON object.")
def enable(names: tuple[str, ...], as_json: bool) -> None:
    """Switch endpoints on, in the configuration file; comments and order stay."""
    from codex_gateway.config.rewriting import set_enabled

    _rewrite(lambda text: set_enabled(text, names, True), as_json)


@endpoints.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_complete_endpoint)
@click.option("--json", "as_json", is_flag=True, help="Say what holds now as one JSON object.")
def disable(names: tuple[str, ...], as_json: bool) -> None:
    """Switch endpoints off, in the configuration file. Requests that they are answering go on."""
    from codex_gateway.config.rewriting import set_enabled

    _rewrite(lambda text: set_enabled(text, names, False), as_json)


@endpoints.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_complete_endpoint)
@click.option("--json", "as_json", is_flag=True, help="Say what holds now as one JSON object.")
def reorder(names: tuple[str, ...], as_json: bool) -> None:
    """Put these endpoints first, in this order, before all others: in the file and by priority."""
    from codex_gateway.config.rewriting import reorder as reordered

    _rewrite(lambda text: reordered(text, names), as_json)


def _rewrite(change: Callable[[str], str], as_json: bool) -> None:
    from codex_control.gateway_paths import running_pid

    from codex_gateway.commands.printing import put_json
    from codex_gateway.config.rewriting import rewrite_config

    paths = GatewayPaths.from_environment()
    config: Config = rewrite_config(paths.config_file, change)
    obeys = running_pid(paths) is not None
    if as_json:
        put_json(
            {
                "file": str(paths.config_file),
                "gateway_runs": obeys,
                "endpoints": [
                    {"name": one.name, "enabled": one.enabled, "priority": one.priority} for one in config.endpoints
                ],
            }
        )
        return
    for one in config.endpoints:
        click.echo(f"{one.priority:>6}  {one.name}{'' if one.enabled else '  (disabled)'}")
    click.echo(
        "the running gateway obeys within a second" if obeys else "no gateway runs: it holds from the next start"
    )


@endpoints.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_complete_endpoint)
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def reset(names: tuple[str, ...], as_json: bool) -> None:
    """Ask endpoints again at once that are left alone after failures, and use their keys again. Without a NAME: all."""
    from codex_gateway.commands.printing import put_json
    from codex_gateway.ingress.admin_messages import Names, ResetRequest
    from codex_gateway.running import RunningGateway

    gateway = RunningGateway.needed(GatewayPaths.from_environment())
    done = gateway.post("/admin/endpoints/reset", ResetRequest(names=names), Names)
    if as_json:
        put_json(done)
        return
    click.echo(f"reset: {', '.join(done.names) or 'none'}")
