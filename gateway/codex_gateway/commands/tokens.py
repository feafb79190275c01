"""`codex-gateway tokens list|add|revoke|text`: who may use the gateway."""

from __future__ import annotations

import click

from codex_gateway.commands.listing import ListingGroup
from codex_gateway.config.endpoint import ClientKind
from codex_gateway.ingress.tokens import FIRST_TOKENS, Role, Tokens
from codex_gateway.paths import GatewayPaths


@click.group(cls=ListingGroup)
def tokens() -> None:
    """List, make and revoke client tokens. Without a command: list.

    A running gateway obeys a change at once.
    """


def _opened() -> Tokens:
    from codex_control.service.clock import SystemClock

    found = Tokens(GatewayPaths.from_environment().token_dir, SystemClock())
    found.open()
    return found


@tokens.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each.")
def list_tokens(as_json: bool) -> None:
    """List all tokens with their roles and limits; never their text."""
    from codex_gateway.commands.printing import local_time, put_json, put_table

    found = _opened().all()
    if as_json:
        for one in found:
            put_json(
                {
                    "name": one.name,
                    "role": one.role,
                    "client": one.client,
                    "created_ns": one.created_ns,
                    "revoked_ns": one.revoked_ns or None,
                    "requests_per_minute": one.requests_per_minute or None,
                    "tokens_per_day": one.tokens_per_day or None,
                    "concurrent": one.concurrent or None,
                }
            )
        return
    put_table(
        ("NAME", "ROLE", "FOR", "MADE", "REVOKED", "A MINUTE", "TOKENS A DAY", "AT ONCE"),
        [
            (
                one.name,
                one.role,
                one.client,
                local_time(one.created_ns),
                local_time(one.revoked_ns) if one.revoked_ns else "",
                str(one.requests_per_minute or ""),
                str(one.tokens_per_day or ""),
                str(one.concurrent or ""),
            )
            for one in found
        ],
    )


@tokens.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    help="What it is for. Default: client.",
)
@click.option(
    "--client",
    type=click.Choice([kind.value for kind in ClientKind if kind is not ClientKind.ANY]),
    help="Whom it is for, where a request's headers do not tell. Default: other.",
)
@click.option("--requests-per-minute", type=click.IntRange(0), default=0, help="Its own limit.")
@click.option("--tokens-per-day", type=click.IntRange(0), default=0, help="Its own limit.")
@click.option("--concurrent", type=click.IntRange(0), default=0, help="Its own limit of requests at once.")
def add(
    name: str,
    role: str | None,
    client: str | None,
    requests_per_minute: int,
    tokens_per_day: int,
    concurrent: int,
) -> None:
    """Make a token and print it: this once, and never again.

    One that the gateway made by itself can be made anew under its name once it is revoked: its text is kept then too.
    """
    known = {first: (its_role, its_client) for first, its_role, its_client in FIRST_TOKENS}
    first_role, first_client = known.get(name, (Role.CLIENT, ClientKind.OTHER))
    click.echo(
        _opened().add(
            name,
            Role(role) if role else first_role,
            client=ClientKind(client) if client else first_client,
            keep_text=name in known,
            requests_per_minute=requests_per_minute,
            tokens_per_day=tokens_per_day,
            concurrent=concurrent,
        )
    )


@tokens.command()
@click.argument("name")
def revoke(name: str) -> None:
    """Let a token mean nothing from now on."""
    _opened().revoke(name)
    click.echo(f"{name} is revoked")


@tokens.command()
@click.argument("name")
def text(name: str) -> None:
    """Print a token that the gateway made by itself: claude-code, codex, other or admin."""
    click.echo(_opened().text_of(name))
