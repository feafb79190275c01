"""Values put into parsed settings, and taken out again where they are still ours. Pure."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

import msgspec


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One value that was put in."""

    path: tuple[str, ...]
    ours: Any
    before: Any = None
    """What stood there; None where nothing did."""
    made: int = 0
    """How many of the tables around it were made for it."""


def put(settings: MutableMapping[str, Any], wanted: Iterable[tuple[tuple[str, ...], Any]]) -> list[Change]:
    """Set each value at its path, and say what that changed. Raises `TypeError` where something stands in the way."""
    changes = []
    for path, value in wanted:
        made, table = 0, settings
        for name in path[:-1]:
            if name not in table:
                table[name] = {}
                made += 1
            table = table[name]
            if not isinstance(table, MutableMapping):
                raise TypeError(f"{'.'.join(path[:-1])} is no table")
        before = table.get(path[-1])
        changes.append(Change(path=path, ours=value, before=plain(before), made=made))
        if before != value:
            table[path[-1]] = value
    return changes


def take_out(settings: MutableMapping[str, Any], changes: Iterable[Change]) -> bool:
    """Undo what is still as it was put in; say whether anything was."""
    found = False
    for change in reversed(list(changes)):
        tables = [settings]
        for name in change.path[:-1]:
            inner = tables[-1].get(name)
            if not isinstance(inner, MutableMapping):
                break
            tables.append(inner)
        else:
            if not _is_ours(plain(tables[-1].get(change.path[-1])), change.ours):
                continue
            found = True
            if change.before is not None:
                tables[-1][change.path[-1]] = change.before
                continue
            del tables[-1][change.path[-1]]
            for _ in range(change.made):
                # A table that was made for it goes with it, unless somebody has put something else there.
                if tables[-1] or len(tables) < 2:
                    break
                tables.pop()
                del tables[-1][change.path[len(tables) - 1]]
    return found


def _is_ours(now: Any, ours: Any) -> bool:
    # A table is ours though somebody has added to it: without what we put there it means nothing.
    if isinstance(ours, dict) and isinstance(now, dict):
        return all(now.get(name) == value for name, value in ours.items())
    return bool(now == ours)


def plain(value: Any) -> Any:
    """A value without what tomlkit hangs on it."""
    return value.unwrap() if hasattr(value, "unwrap") else value
