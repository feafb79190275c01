"""Shows configurations: the reference page, what is in force, and what a reload changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from codex_control.service.config_key import Applies, Key, format_text, keys_of
from codex_control.service.config_meanings import meanings_of

from codex_supervisor.config.choosing import all_profiles
from codex_supervisor.config.model import Config
from codex_supervisor.config.profiles import BUILT_IN_PROFILES, Profile

_DEFAULT_COLUMN = 44
"""Where the mark of a default stands in `show_config`."""


HIDDEN = "(hidden)"
"""Shown in place of a secret."""


def config_differences(old: Config, new: Config) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keys whose values differ: those that apply on a reload, and those that wait for a restart."""
    applied: list[str] = []
    waiting: list[str] = []
    for path, key, before in _leaves(old):
        if before != _at(new, path):
            (waiting if key.description.applies is Applies.RESTART else applied).append(path)
    before_profiles, after_profiles = all_profiles(old), all_profiles(new)
    for name in sorted(before_profiles.keys() | after_profiles.keys()):
        if before_profiles.get(name) != after_profiles.get(name):
            applied.append(f"profiles.{name}")
    return tuple(applied), tuple(waiting)


def keep_restart_keys(old: Config, new: Config) -> Config:
    """Return `new` with the values of `old` for the keys that wait for a restart: what is in force after a reload."""
    values = msgspec.to_builtins(new)
    for path, key, before in _leaves(old):
        if key.description.applies is Applies.RESTART:
            section, _, name = path.partition(".")
            values[section][name] = msgspec.to_builtins(before)
    return msgspec.convert(values, Config)


def show_config(config: Config) -> str:
    """Write the whole configuration in force as YAML that reads as the same again; defaults are marked.

    A secret is not shown: `HIDDEN` stands in its place.
    """
    lines: list[str] = []
    for section in keys_of(Config):
        lines.append(f"{section.name}:")
        if section.section is None:
            for name, profile in all_profiles(config).items():
                lines.append(f"  {_profile_name(name)}:")
                default = BUILT_IN_PROFILES.get(name, Profile())
                lines += [
                    _line(4, key, getattr(profile, key.name), getattr(default, key.name)) for key in keys_of(Profile)
                ]
            continue
        values = getattr(config, section.name)
        lines += [_line(2, key, getattr(values, key.name), key.default) for key in keys_of(section.section)]
    return "\n".join(lines) + "\n"


def config_values(config: Config) -> dict[str, Any]:
    """Return the whole configuration in force as plain values: durations in seconds, sizes in bytes."""
    values: dict[str, Any] = msgspec.to_builtins(config)
    for path, key, value in _leaves(config):
        if key.description.secret and value:
            section, _, name = path.partition(".")
            values[section][name] = HIDDEN
    values["profiles"] = msgspec.to_builtins(all_profiles(config))
    return values


def config_reference() -> str:
    """Write the reference page docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "<!-- Generated from the code by `make docs`: edit codex_supervisor/config in its place. -->",
        "",
        "The file is `~/.config/codex-supervisor/config.yaml` (below `$XDG_CONFIG_HOME` where that is set;",
        "`CODEX_SUPERVISOR_CONFIG` names another one). Without a file, and for every key that is left out, the",
        "defaults hold. Other users must not be able to write it: `chmod 600`.",
        "",
        "- `codex-supervisor config check` names every mistake with its line, `config show` prints what is in force.",
        "- `codexctl reload`, or SIGHUP, reads the file again. A file with a mistake changes nothing.",
        "- A **duration** is written `250ms`, `30s`, `15m`, `1h30m`, `7d`, or as a number of seconds.",
        "- A **size** is written `512MiB` (1024 · 1024 bytes), `1MB` (1000 · 1000 bytes), or as a number of bytes.",
        "- Anchors, aliases and tags are refused; the file may have at most 256 KiB.",
        "",
        "```yaml",
        "instances:",
        "  idle_after: 30m",
        "profiles:",
        "  reviewer:",
        "    effort: high",
        "    sandbox: read-only",
        "```",
    ]
    for section in keys_of(Config):
        lines += ["", f"## {section.name}", "", section.description.text]
        if section.section is None:
            built_in = ", ".join(
                f"`{name}` has effort {_quoted(profile.effort)}" for name, profile in BUILT_IN_PROFILES.items()
            )
            lines += ["", f"Of the built-in ones {built_in}. A change applies {section.description.applies.value}."]
            lines += _table("profiles.<name>.", keys_of(Profile), applies=False)
        else:
            lines += _table(f"{section.name}.", keys_of(section.section), applies=True)
    return "\n".join(lines) + "\n"


def _leaves(config: Config) -> Iterator[tuple[str, Key, Any]]:
    for section in keys_of(Config):
        if section.section is not None:
            for key in keys_of(section.section):
                path = f"{section.name}.{key.name}"
                yield path, key, _at(config, path)


def _at(config: Config, path: str) -> Any:
    section, _, name = path.partition(".")
    return getattr(getattr(config, section), name)


def _line(indent: int, key: Key, value: Any, default: Any) -> str:
    shown = HIDDEN if key.description.secret and value else key.format(value)
    line = f"{' ' * indent}{key.name}: {shown}"
    return f"{line:<{_DEFAULT_COLUMN}} # default" if value == default else line


def _profile_name(name: str) -> str:
    return name if name in BUILT_IN_PROFILES else format_text(name)


def _table(prefix: str, keys: tuple[Key, ...], *, applies: bool) -> list[str]:
    head = "| key | value | default | meaning |"
    rows = ["", f"{head} a change applies |" if applies else head, "| --- " * (5 if applies else 4) + "|"]
    for key in keys:
        bounds = key.bounds()
        kind = "choice" if key.choices is not None else key.description.kind.value
        value = kind + (f": {bounds}" if bounds else "")
        meaning = key.description.text
        if key.choices is not None:
            meaning += "".join(
                f"<br>{_quoted(member)}: {meanings_of(key.choices)[member.value]}" for member in key.choices
            )
        cells = [f"`{prefix}{key.name}`", value, _quoted(key.format(key.default)), meaning]
        if applies:
            cells.append(key.description.applies.value)
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _quoted(value: str) -> str:
    return f"`{value}`" if value else '`""`'
