"""What a new configuration changes: for the log, and for what must be made anew. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from codex_control.service.config_key import Applies, Kind, keys_of

from codex_gateway.config.endpoint import Endpoint
from codex_gateway.config.model import Config


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The difference of two configurations."""

    added: tuple[str, ...] = ()
    """Names of new endpoints."""
    removed: tuple[str, ...] = ()
    """Names of endpoints that are gone."""
    changed: tuple[str, ...] = ()
    """Names of endpoints with other settings."""
    reconnect: tuple[str, ...] = ()
    """Those of them whose connections cannot be used any more: another URL, proxy, key or connect timeout. What their
    breakers know is forgotten with it."""
    applied: tuple[str, ...] = ()
    """Keys outside the endpoints that hold from now on."""
    waiting: tuple[str, ...] = ()
    """Keys that wait for a restart."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.applied or self.waiting)

    def sentences(self) -> list[str]:
        """Say it, without any values: they may be secrets."""
        said = []
        for names, what in (
            (self.added, "new endpoints"),
            (self.removed, "endpoints removed"),
            (self.changed, "endpoints changed"),
            (self.applied, "changed"),
            (self.waiting, "changed, but only after a restart"),
        ):
            if names:
                said.append(f"{what}: {', '.join(names)}")
        return said


_CONNECTION = ("url", "auth", "proxy", "header_overrides")


def changes(old: Config, new: Config) -> Changes:
    """Return what `new` changes."""
    before = {endpoint.name: endpoint for endpoint in old.endpoints}
    after = {endpoint.name: endpoint for endpoint in new.endpoints}
    both = [name for name in after if name in before]
    changed = [name for name in both if before[name] != after[name]]
    applied: list[str] = []
    waiting: list[str] = []
    for path, applies, was, now in _leaves(old, new):
        if was != now:
            (waiting if applies is Applies.RESTART else applied).append(path)
    if changed == [] and [*before] != [*after] and before.keys() == after.keys():
        applied.append("endpoints (their order)")
    return Changes(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(changed),
        reconnect=tuple(name for name in changed if _reconnects(before[name], after[name])),
        applied=tuple(applied),
        waiting=tuple(waiting),
    )


def in_force(old: Config, new: Config) -> Config:
    """Return `new` with the values of `old` for the keys that wait for a restart."""
    values: dict[str, Any] = {}
    for section in keys_of(Config):
        if section.description.kind is not Kind.SECTION:
            continue
        assert section.section is not None  # noqa: S101 (a section has a model)
        was = getattr(old, section.name)
        kept = {
            key.name: getattr(was, key.name)
            for key in keys_of(section.section)
            if key.description.applies is Applies.RESTART
        }
        values[section.name] = msgspec.structs.replace(getattr(new, section.name), **kept)
    return msgspec.structs.replace(new, **values)


def _reconnects(old: Endpoint, new: Endpoint) -> bool:
    return old.timeouts.connect != new.timeouts.connect or any(
        getattr(old, name) != getattr(new, name) for name in _CONNECTION
    )


def _leaves(old: Config, new: Config) -> list[tuple[str, Applies, Any, Any]]:
    found = []
    for section in keys_of(Config):
        was, now = getattr(old, section.name), getattr(new, section.name)
        if section.name == "endpoints":
            continue
        if section.description.kind is not Kind.SECTION:
            found.append((section.name, section.description.applies, was, now))
            continue
        assert section.section is not None  # noqa: S101 (a section has a model)
        for key in keys_of(section.section):
            path = f"{section.name}.{key.name}"
            found.append((path, key.description.applies, getattr(was, key.name), getattr(now, key.name)))
    return found
