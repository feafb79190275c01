"""Reads config.yaml into the model, and says of every mistake where it is and how it is put right.

All mistakes are collected, so that a person corrects the file once.
"""

from __future__ import annotations

import difflib
import enum
import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import yaml
from codex_control.errors import BadConfig, UnsafePath
from codex_control.service.config_key import Key, Kind, keys_of, parse_duration, parse_size
from codex_control.service.yaml_nodes import TAG, Mark, Problems, Refused, compose, mark_of

from codex_supervisor.config import Config
from codex_supervisor.profiles import BUILT_IN_PROFILES, Profile

MAX_FILE_BYTES = 256 * 1024
"""PyYAML's own parser reads about 200 KB in a second: the bound keeps a reload short."""
MAX_PROFILES = 200
PROFILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def load_config(path: Path) -> Config:
    """Read the configuration file; a missing one means the defaults.

    Raises `BadConfig` where it cannot be read or is wrong, `UnsafePath` where another user may write it.
    """
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise BadConfig(what=f"{path} is not a file", next_step=f"move {path} away")
        _check_owner(path, status)
        with open(handle, "rb", closefd=False) as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(handle)
    return parse_config(content, str(path))


def _unreadable(path: Path, error: OSError) -> BadConfig:
    return BadConfig(
        what=f"{path} cannot be read",
        why=error.strerror or str(error),
        next_step=f"make it readable (chmod 600 {path}), or move it away to run with the defaults",
    )


def _check_owner(path: Path, status: os.stat_result) -> None:
    # Whoever writes this file chooses which program the service runs.
    if status.st_uid not in (os.geteuid(), 0):
        raise UnsafePath(
            what=f"{path} belongs to another user",
            why=f"its owner is uid {status.st_uid}, we are uid {os.geteuid()}",
            next_step="copy it to a file of your own",
        )
    others_write = status.st_mode & stat.S_IWOTH
    group_writes = status.st_mode & stat.S_IWGRP and not _is_private_group(status.st_gid)
    if others_write or group_writes:
        raise UnsafePath(
            what=f"{path} can be written by other users",
            why=f"its mode is {stat.S_IMODE(status.st_mode):04o}",
            next_step=f"run `chmod go-w {path}`",
        )


def _is_private_group(gid: int) -> bool:
    """Whether the group is the user's own, as Debian and Fedora make one for each user and set umask 002."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return user.pw_gid == gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def parse_config(text: str | bytes, source: str) -> Config:
    """Read a configuration from text; `source` names it in errors.

    Raises `BadConfig` that names line, column, key and the nearest right name of every mistake, and nothing else.
    """
    if len(text) > MAX_FILE_BYTES:
        raise BadConfig(
            what=f"{source} is too large",
            why=f"it has more than {MAX_FILE_BYTES // 1024} KiB",
            next_step="keep only the settings that differ from the defaults",
        )
    if isinstance(text, bytes):
        text = _decode(text, source)
    found = Problems(source)
    try:
        root = compose(text)
    except Refused as refused:
        found.add(refused.mark, refused.what, refused.fix)
        root = None
    found.raise_if_any()
    config = _Reader(found).config(root)
    found.raise_if_any()
    return config


def _decode(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise BadConfig(
            what=f"{source}, line {line}, column {column}: byte 0x{content[error.start]:02x} is not UTF-8",
            next_step="save the file as UTF-8 text",
        ) from error


_WRITTEN = {
    "null": "nothing",
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "str": "text",
    "timestamp": "a date",
    "map": "a section",
    "seq": "a list",
}
_WRONG = object()


class _Reader:
    """Nodes to the model. A key that is wrong is noted and left at its default, so that the next ones are looked at."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def config(self, root: yaml.Node | None) -> Config:
        values = self._section(root, Config, "")
        config = msgspec.convert(values, Config) if not self._problems.found else Config()
        if root is not None and not self._problems.found:
            self._check_together(root, config)
        return config

    def _section(self, node: yaml.Node | None, model: type[msgspec.Struct], path: str) -> dict[str, Any]:
        keys = {key.name: key for key in keys_of(model)}
        values: dict[str, Any] = {}
        for name, key_node, value in self._pairs(node, path):
            full = f"{path}.{name}" if path else name
            if name not in keys:
                self._unknown(key_node, full, path, keys)
                continue
            key = keys[name]
            if key.section is not None:
                values[name] = self._section(value, key.section, full)
            elif key.description.kind is Kind.NAMED:
                values[name] = self._profiles(value, full)
            elif (read := self._value(value, key, full)) is not _WRONG:
                values[name] = read
        return values

    def _pairs(self, node: yaml.Node | None, path: str) -> Iterable[tuple[str, yaml.Node, yaml.Node]]:
        """The keys of a mapping, each once; an empty section (all of it commented out) has none."""
        if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == TAG + "null"):
            return
        if not isinstance(node, yaml.MappingNode):
            what = f"`{path}` is {_kind(node)}" if path else f"the file holds {_kind(node)}"
            self._problems.add(
                mark_of(node.start_mark), f"{what}, expected keys with values", "write `key: value` lines"
            )
            return
        seen: dict[str, int] = {}
        for key, value in node.value:
            mark = mark_of(key.start_mark)
            if not isinstance(key, yaml.ScalarNode):
                self._problems.add(mark, f"{_kind(key)} cannot be a key", "write a name")
                continue
            name = key.value
            if name in seen:
                full = f"{path}.{name}" if path else name
                self._problems.add(mark, f"`{_short(full)}` is already set in line {seen[name]}", "keep one of them")
                continue
            seen[name] = mark.line + 1
            yield name, key, value

    def _unknown(self, node: yaml.Node, full: str, path: str, keys: dict[str, Key]) -> None:
        prefix = f"{path}." if path else ""
        name = full.removeprefix(prefix)[:200]
        near = difflib.get_close_matches(name, keys, n=1)
        if near:
            fix = f"did you mean `{prefix}{near[0]}`?"
        elif places := [place for place in _every_key() if place.rpartition(".")[2] == name]:
            fix = f"did you mean `{places[0]}`?"
        else:
            fix = f"the keys {'of `' + path + '`' if path else 'here'} are {', '.join(keys)}"
        self._problems.add(mark_of(node.start_mark), f"there is no key `{_short(full)}`", fix)

    def _profiles(self, node: yaml.Node, path: str) -> dict[str, Any]:
        read: dict[str, Any] = {}
        for name, key_node, value in self._pairs(node, path):
            mark = mark_of(key_node.start_mark)
            if not PROFILE_NAME.fullmatch(name):
                self._problems.add(
                    mark,
                    f"{_short(name)!r} cannot name a profile",
                    "use letters, digits, `.`, `_` and `-`; at most 64, the first a letter or digit",
                )
                continue
            if len(read) >= MAX_PROFILES:
                self._problems.add(mark, f"there are more than {MAX_PROFILES} profiles", "remove some")
                return read
            base = msgspec.to_builtins(BUILT_IN_PROFILES.get(name, Profile()))
            read[name] = base | self._section(value, Profile, f"{path}.{name}")
        return read

    def _value(self, node: yaml.Node, key: Key, path: str) -> Any:
        if key.description.kind is Kind.TEXTS:
            return self._texts(node, key, path)
        if not isinstance(node, yaml.ScalarNode):
            return self._wrong(node, key, f"`{path}` is {_kind(node)}")
        if node.tag == TAG + "null":
            return self._wrong(node, key, f"`{path}` has no value")
        match key.description.kind:
            case Kind.SECONDS:
                return self._number(node, key, path, parse_duration)
            case Kind.BYTES:
                return self._number(node, key, path, parse_size)
            case Kind.COUNT:
                return self._number(node, key, path, _parse_count)
            case Kind.SWITCH:
                if node.tag != TAG + "bool":
                    return self._wrong(node, key, f"`{path}` is {_shown(node)}")
                return node.value.lower() in ("true", "yes", "on")
            case _:
                return self._text(node, key, path)

    def _number(self, node: yaml.ScalarNode, key: Key, path: str, parse: Callable[[str], float | None]) -> Any:
        about = key.description
        value = parse(node.value)
        if value is None:
            return self._wrong(node, key, f"`{path}` is {_shown(node)}")
        if value == 0 and about.zero_means:
            return value
        if about.minimum is not None and value < about.minimum:
            return self._wrong(node, key, f"`{path}` is too small: {_shown(node)}")
        if about.maximum is not None and value > about.maximum:
            return self._wrong(node, key, f"`{path}` is too large: {_shown(node)}")
        return value

    def _text(self, node: yaml.Node, key: Key, path: str) -> Any:
        if not isinstance(node, yaml.ScalarNode) or node.tag == TAG + "null":
            return self._wrong(node, key, f"`{path}` is {_kind(node)}")
        # A model may be called 4.1 and a choice `none`; a switch in place of text is a mistake (`off`).
        if node.tag == TAG + "bool":
            return self._wrong(node, key, f"`{path}` is {_shown(node)}, which YAML reads as true or false")
        value = node.value
        about = key.description
        if key.choices is not None:
            choices = [member.value for member in key.choices]
            if value not in choices:
                near = difflib.get_close_matches(value[:200], choices, n=1)
                fix = f"did you mean {near[0]!r}?" if near else f"expected {_expected(key)}"
                self._problems.add(mark_of(node.start_mark), f"`{path}` is {_shown(node)}", fix)
                return _WRONG
            return value
        if "\0" in value:
            return self._wrong(node, key, f"`{path}` holds a NUL character")
        if about.max_length is not None and len(value) > about.max_length:
            return self._wrong(node, key, f"`{path}` has {len(value):,} characters")
        if about.pattern and not re.fullmatch(about.pattern, value, re.DOTALL):
            return self._wrong(node, key, f"`{path}` is {_shown(node)}")
        return value

    def _texts(self, node: yaml.Node, key: Key, path: str) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            return self._wrong(node, key, f"`{path}` is {_kind(node)}")
        read = [self._text(item, key, f"{path}[{number}]") for number, item in enumerate(node.value)]
        return _WRONG if _WRONG in read else read

    def _wrong(self, node: yaml.Node, key: Key, what: str) -> object:
        self._problems.add(mark_of(node.start_mark), what, f"expected {_expected(key)}")
        return _WRONG

    def _check_together(self, root: yaml.Node, config: Config) -> None:
        """What no key can say by itself."""
        limits = config.instances
        if limits.backoff_initial > limits.backoff_max:
            self._problems.add(
                _place(root, "instances", "backoff_initial"),
                "`instances.backoff_initial` is larger than `instances.backoff_max`",
                "make it smaller",
            )
        profiles = {**BUILT_IN_PROFILES, **config.profiles}
        if config.defaults.profile not in profiles:
            near = difflib.get_close_matches(config.defaults.profile, profiles, n=1)
            self._problems.add(
                _place(root, "defaults", "profile"),
                f"`defaults.profile` names {config.defaults.profile!r}, which is no profile",
                f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(profiles)}",
            )


def _place(root: yaml.Node, *path: str) -> Mark:
    """The place of a key, or of the nearest section around it."""
    node = root
    for name in path:
        if not isinstance(node, yaml.MappingNode):
            break
        node = next((value for key, value in node.value if key.value == name), node)
    return mark_of(node.start_mark)


def _every_key() -> Iterable[str]:
    for key in keys_of(Config):
        if key.section is not None:
            for below in keys_of(key.section):
                yield f"{key.name}.{below.name}"


def _parse_count(written: str) -> int | None:
    digits = written.replace("_", "").replace(",", "")
    return int(digits) if re.fullmatch(r"[0-9]{1,15}", digits) and not re.match(r"0[0-9]", digits) else None


_EXPECTED = {
    Kind.SECONDS: "a duration such as 30s, 15m, 1h30m or 250ms",
    Kind.BYTES: "a size such as 512MiB or 1MB",
    Kind.COUNT: "a whole number",
    Kind.SWITCH: "true or false",
    Kind.TEXT: "text",
    Kind.TEXTS: "a list of texts",
}


def _expected(key: Key) -> str:
    if key.choices is not None:
        return " or ".join(_quoted(member) for member in key.choices)
    bounds = key.bounds()
    return f"{_EXPECTED[key.description.kind]}" + (f", {bounds}" if bounds else "")


def _quoted(member: enum.StrEnum) -> str:
    return f"`{member.value}`" if member.value else '`""`'


def _kind(node: yaml.Node) -> str:
    return _WRITTEN.get(str(node.tag).removeprefix(TAG), "something else")


def _shown(node: yaml.ScalarNode) -> str:
    return repr(_short(str(node.value)))


def _short(text: str) -> str:
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= 60 else text[:57] + "..."
