"""The live table of `codexctl top`."""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue

from codex_control.errors import CodexError
from codex_control.v1.admin_pb2 import VersionRequest, VersionResponse
from codex_control.v1.instances_pb2 import Instance, WatchInstancesRequest, WatchInstancesResponse
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from codexctl.client import Client
from codexctl.instance_table import EXPENDABLE, HEADINGS, row, service_lines, state_name
from codexctl.output import table_lines

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
            live.update(_screen(version, instances, console.width, console.height), refresh=True)
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


def _screen(version: VersionResponse, instances: dict[str, Instance], width: int, height: int) -> Group:
    above = [Text(line) for line in service_lines(version, width)]
    # Those that do something come first; what does not fit on the screen is counted.
    ordered = sorted(instances.values(), key=lambda one: (not one.turn_id, one.id))
    room = max(1, height - len(above) - 2)
    shown = ordered[:room]
    heading, *lines = table_lines(HEADINGS, [row(one) for one in shown], width=width, expendable=EXPENDABLE)
    below = [Text(f"and {len(ordered) - room} more")] if len(ordered) > room else []
    rows = (Text(line, _STYLES.get(state_name(one.state), "")) for one, line in zip(shown, lines, strict=True))
    return Group(*above, Text(heading, "bold"), *rows, *below)
