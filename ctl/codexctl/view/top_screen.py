"""The live table of `codexctl top`."""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue

from codex_control.errors import CodexError
from codex_control.safe_text import one_line
from codex_control.v1.admin_pb2 import VersionRequest, VersionResponse
from codex_control.v1.instances_pb2 import Instance, WatchInstancesRequest, WatchInstancesResponse
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from codexctl.client import Client
from codexctl.instance_table import HEADINGS, row, service_lines, state_name

_TICK_S = 1.0
_STYLES = {
    "busy": "cyan",
    "ready": "green",
    "failed": "red",
    "backoff": "yellow",
    "hibernated": "dim",
    "stopped": "dim",
}


def show_live(client: Client, request: WatchInstancesRequest) -> None:
    """Draw until the user presses Ctrl-C; raises the `CodexError` that the stream ended with."""
    version = client.call("Admin.Version", VersionRequest(), VersionResponse)
    inbox: SimpleQueue[WatchInstancesResponse | CodexError | None] = SimpleQueue()
    threading.Thread(target=_pump, args=(client, request, inbox), daemon=True).start()
    instances: dict[str, Instance] = {}
    console = Console(highlight=False, markup=False, emoji=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(_table(version, instances, console.height), refresh=True)
            try:
                change = inbox.get(timeout=_TICK_S)
                while True:
                    if isinstance(change, CodexError):
                        raise change
                    if change is None:
                        return
                    _apply(instances, change)
                    change = inbox.get_nowait()
            except Empty:
                continue


def _pump(
    client: Client, request: WatchInstancesRequest, inbox: SimpleQueue[WatchInstancesResponse | CodexError | None]
) -> None:
    try:
        for change in client.messages("Instances.Watch", request, WatchInstancesResponse):
            inbox.put(change)
        inbox.put(None)
    except CodexError as error:
        inbox.put(error)


def _apply(instances: dict[str, Instance], change: WatchInstancesResponse) -> None:
    if change.deleted:
        instances.pop(change.instance.id, None)
    else:
        instances[change.instance.id] = change.instance


def _table(version: VersionResponse, instances: dict[str, Instance], height: int) -> Table:
    table = Table(box=None, pad_edge=False, title="\n".join(service_lines(version)), title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, no_wrap=True, overflow="ellipsis")
    # Those that do something come first; what does not fit on the screen is counted.
    ordered = sorted(instances.values(), key=lambda one: (not one.turn_id, one.id))
    room = max(1, height - 4)
    for one in ordered[:room]:
        table.add_row(*(Text(one_line(cell) or "-") for cell in row(one)), style=_STYLES.get(state_name(one.state)))
    if len(ordered) > room:
        table.caption = f"and {len(ordered) - room} more"
    return table
