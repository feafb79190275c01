"""codexctl history: what was asked and answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from codexctl.completing import complete_turn
from codexctl.session import Session, instance_option, starting_verb

if TYPE_CHECKING:
    from codex_control.v1.turns_pb2 import Turn

    from codexctl.client import Client
    from codexctl.instance_ref import Named

# The service's limit for one page.
_PAGE = 500


@click.command("history")
@click.argument("turn", required=False, shell_complete=complete_turn)
@instance_option
@click.option("--all", "all_instances", is_flag=True, help="Of all instances.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@click.option("--page", type=click.IntRange(min=1), default=1, help="The second, third … lot of --limit entries.")
@click.option("--search", metavar="TEXT", help="Only entries whose prompt or answer holds TEXT; case is ignored.")
@click.option("--export", "export_all", is_flag=True, help="Everything, oldest first, one JSON object in each line.")
@click.option("--clear", is_flag=True, help="Delete the entries of the instance.")
@click.option("-y", "--yes", is_flag=True, help="With --clear: do not ask.")
@starting_verb
def command(
    session: Session,
    turn: str | None,
    instance: str | None,
    all_instances: bool,
    limit: int,
    page: int,
    search: str | None,
    export_all: bool,
    clear: bool,
    yes: bool,
) -> None:
    """Show past asks and answers of the instance, newest first, or all of one TURN.

    The service alone reads them, so it is started where it does not run.
    """
    from codex_control.errors import BadInput

    from codexctl.instance_ref import resolve_instance

    ref = None if all_instances else resolve_instance(instance, session.environ)
    if sum((turn is not None, search is not None, export_all, clear)) > 1:
        raise BadInput("TURN, --search, --export and --clear exclude each other", next_step="give one of them")
    if clear:
        if ref is None:
            raise BadInput("--clear works on one instance", next_step="name it with -i, without --all")
        _clear(session, ref, yes=yes)
        return
    client = session.client(start=True)

    from codexctl.output import put, put_message, table_width

    if turn is not None:
        _show_one(session, client, turn)
        return
    if export_all:
        _export(client, ref)
        return
    entries = list(_entries(client, ref, search, (page - 1) * limit, limit))
    if session.json:
        for entry in entries:
            put_message(entry)
        return
    from codexctl import turn_table

    if not entries:
        put("nothing here")
        return
    turn_table.put_turns(entries, all_instances=all_instances)
    if len(entries) == limit and table_width():
        put(f"older ones: --page {page + 1} · one of them in full: codexctl history TURN")


def _entries(client: Client, ref: Named | None, search: str | None, skip: int, limit: int) -> Iterator[Turn]:
    """`limit` entries after the first `skip`, over as many pages of the service as that takes."""
    from codex_control.v1.history_pb2 import PageRequest, PageResponse, SearchRequest, SearchResponse

    instance = ref.ref() if ref else None
    token = ""
    end = skip + limit
    seen = 0
    while seen < end:
        size = min(_PAGE, end - seen)
        answer: PageResponse | SearchResponse
        if search is None:
            request = PageRequest(instance=instance, page_size=size, page_token=token)
            answer = client.call("History.Page", request, PageResponse)
        else:
            query = SearchRequest(instance=instance, text=search, page_size=size, page_token=token)
            answer = client.call("History.Search", query, SearchResponse, timeout_s=60)
        for entry in answer.entries:
            seen += 1
            if skip < seen <= end:
                yield entry
        token = answer.next_page_token
        if not token:
            return


def _show_one(session: Session, client: Client, turn_id: str) -> None:
    from codex_control.v1.turns_pb2 import GetTurnRequest, GetTurnResponse

    from codexctl.output import put, put_message
    from codexctl.turn_table import full_text

    turn = client.call("Turns.Get", GetTurnRequest(turn_id=turn_id), GetTurnResponse).turn
    if session.json:
        put_message(turn)
        return
    for line in full_text(turn):
        put(line)


def _export(client: Client, ref: Named | None) -> None:
    from codex_control.v1.history_pb2 import ExportRequest, ExportResponse

    from codexctl.output import put_message

    request = ExportRequest(instance=ref.ref() if ref else None)
    for exported in client.messages("History.Export", request, ExportResponse):
        put_message(exported.entry)


def _clear(session: Session, ref: Named, *, yes: bool) -> None:
    from codexctl.confirming import confirm

    confirm(f"Delete the whole history of {ref.value}?", yes=yes)

    from codex_control.v1.history_pb2 import ClearRequest, ClearResponse

    from codexctl.output import put, put_message

    answer = session.client(start=True).call(
        "History.Clear", ClearRequest(instance=ref.ref()), ClearResponse, timeout_s=60
    )
    if session.json:
        put_message(answer)
    else:
        put(f"{answer.deleted} entries are deleted")
