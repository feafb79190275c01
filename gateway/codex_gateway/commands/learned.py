"""`codex-gateway learned list|forget`: what the gateway has learned about endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from codex_gateway.commands.listing import ListingGroup
from codex_gateway.paths import GatewayPaths
from codex_gateway.route.learned import Topic

if TYPE_CHECKING:
    from codex_gateway.ingress.admin_messages import ForgetRequest
    from codex_gateway.route.learned import Fact


@click.group(cls=ListingGroup)
def learned() -> None:
    """List and forget what was learned about endpoints. Without a command: list. Also while no gateway runs."""


@learned.command("list")
@click.option("--endpoint", default="", help="Only of this endpoint.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each.")
def list_facts(endpoint: str, as_json: bool) -> None:
    """List facts, the newest first, with what taught them."""
    from codex_gateway.commands.printing import local_time, put_json, put_table

    paths = GatewayPaths.from_environment()
    facts = [fact for fact in _facts(paths) if not endpoint or fact.endpoint == endpoint]
    if as_json:
        for fact in facts:
            put_json(fact)
        return
    if not facts:
        click.echo("nothing is learned")
        return
    put_table(
        ("ENDPOINT", "TOPIC", "DETAIL", "MODEL", "LEARNED", "UNTIL", "STATUS", "EVIDENCE"),
        [
            (
                fact.endpoint,
                fact.topic,
                fact.detail,
                fact.model,
                local_time(int(fact.learned_at_s * 1e9)),
                local_time(int(fact.expires_at_s * 1e9)),
                str(fact.status or ""),
                fact.evidence,
            )
            for fact in facts
        ],
    )


@learned.command()
@click.argument("endpoint", required=False, default="")
@click.option(
    "--topic",
    type=click.Choice([topic.value for topic in Topic]),
    metavar="TOPIC",
    help=f"Only facts about this: {', '.join(topic.value for topic in Topic)}.",
)
@click.option("--detail", default="", help="Only facts with this detail, such as a parameter's name.")
@click.option("--model", default="", help="Only facts about this model.")
@click.option("--all", "everything", is_flag=True, help="All facts about all endpoints.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each forgotten fact.")
def forget(endpoint: str, topic: str | None, detail: str, model: str, everything: bool, as_json: bool) -> None:
    """Forget the facts about ENDPOINT that fit, so that they are tried out again."""
    from codex_control.errors import BadInput, NotFound

    from codex_gateway.commands.printing import put_json
    from codex_gateway.ingress.admin_messages import Facts, ForgetRequest
    from codex_gateway.running import RunningGateway

    wanted = ForgetRequest(endpoint=endpoint, topic=Topic(topic) if topic else None, detail=detail, model=model)
    if everything == any((endpoint, topic, detail, model)):
        raise BadInput(
            "it is not clear what to forget" if not everything else "--all goes with nothing else",
            next_step="name an endpoint, or give --all; `codex-gateway learned list` shows the facts",
        )
    paths = GatewayPaths.from_environment()
    gateway = RunningGateway.find(paths)
    if gateway is not None:
        gone: Sequence[Fact] = gateway.post("/admin/learned/forget", wanted, Facts).facts
    else:
        gone = _forget_in_database(paths, wanted)
    for fact in gone:
        if as_json:
            put_json(fact)
        else:
            click.echo(f"forgotten: {fact.endpoint} {fact.sentence()}")
    if not gone:
        raise NotFound("no fact fits", next_step="`codex-gateway learned list` shows them")


def _facts(paths: GatewayPaths) -> Sequence[Fact]:
    from codex_control.service.clock import SystemClock

    from codex_gateway.ingress.admin_messages import Facts
    from codex_gateway.record.query import opened
    from codex_gateway.route.learned import Learned
    from codex_gateway.running import RunningGateway

    gateway = RunningGateway.find(paths)
    if gateway is not None:
        return gateway.get("/admin/learned", Facts).facts
    if not paths.database.exists():
        return ()
    with opened(paths.database) as records:
        return Learned(records.facts()).all(SystemClock().wall_ns() / 1e9)


def _forget_in_database(paths: GatewayPaths, wanted: ForgetRequest) -> Sequence[Fact]:
    from contextlib import closing

    from codex_control.database.opening import open_for_writing
    from codex_control.paths import make_private_dir
    from codex_control.service.clock import SystemClock
    from codex_control.service.lock import SupervisorLock

    from codex_gateway.record import facts
    from codex_gateway.record.schema import SCHEMA
    from codex_gateway.route.learned import Learned

    if not paths.database.exists():
        return ()
    make_private_dir(paths.runtime_dir)
    # The lock, so that no gateway starts meanwhile with what is being forgotten.
    lock = SupervisorLock(paths.lock_file, what="gateway", status="codex-gateway status")
    lock.acquire()
    try:
        db, _ = open_for_writing(paths.database, clock=SystemClock(), schema=SCHEMA)
        with closing(db):
            gone = Learned(facts.read(db)).forget(wanted.endpoint, wanted.topic, wanted.detail, wanted.model)
            facts.delete(gone, db)
            db.commit()
        return gone
    finally:
        lock.release()
