"""Turns the nodes of a YAML file into the values of a described model, and notes every mistake with its place.

A key that is wrong is noted and left out, so that the next ones are looked at and a person corrects the file once.
"""

from __future__ import annotations

import difflib
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
from codex_control.service.yaml_nodes import TAG, Mark, Problems, mark_of

MAX_FILE_BYTES = 256 * 1024
"""PyYAML's own parser reads about 200 KB in a second: the bound keeps a reload short."""

WRONG = object()
"""What stands for a value that could not be read."""

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
_EXPECTED = {
    Kind.SECONDS: "a duration such as 30s, 15m, 1h30m or 250ms",
    Kind.BYTES: "a size such as 512MiB or 1MB",
    Kind.COUNT: "a whole number",
    Kind.NUMBER: "a number",
    Kind.SWITCH: "true or false",
    Kind.TEXT: "text",
    Kind.TEXTS: "a list of texts",
    Kind.SECTIONS: "a list of sections, each with a `-`",
    Kind.TEXT_MAP: "`name: text` lines",
    Kind.VALUES: "`name: value` lines",
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})?\.?[0-9]{1,17}([eE][-+]?[0-9]{1,3})?")


def read_config_file(path: Path) -> tuple[bytes, int] | None:
    """Return the content of a configuration file, at most `MAX_FILE_BYTES` + 1 bytes of it, and its mode; None where
    there is none.

    Raises `BadConfig` where it cannot be read, `UnsafePath` where another user may write it.
    """
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise BadConfig(what=f"{path} is not a file", next_step=f"move {path} away")
        _check_owner(path, status)
        with open(handle, "rb", closefd=False) as file:
            return file.read(MAX_FILE_BYTES + 1), stat.S_IMODE(status.st_mode)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(handle)


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


def decode_config(text: str | bytes, source: str) -> str:
    """Return the text of a configuration file called `source`. Raises `BadConfig` where it is too large or no UTF-8."""
    if len(text) > MAX_FILE_BYTES:
        raise BadConfig(
            what=f"{source} is too large",
            why=f"it has more than {MAX_FILE_BYTES // 1024} KiB",
            next_step="keep only the settings that differ from the defaults",
        )
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        column = error.start - text.rfind(b"\n", 0, error.start)
        raise BadConfig(
            what=f"{source}, line {line}, column {column}: byte 0x{text[error.start]:02x} is not UTF-8",
            next_step="save the file as UTF-8 text",
        ) from error


class ConfigReader:
    """Nodes to the values of `root`, a described model."""

    def __init__(self, problems: Problems, root: type[msgspec.Struct]) -> None:
        self.problems = problems
        self._root = root

    def section(self, node: yaml.Node | None, model: type[msgspec.Struct], path: str) -> dict[str, Any]:
        """Read one section; what is wrong is noted and left out."""
        keys = {key.name: key for key in keys_of(model)}
        values: dict[str, Any] = {}
        written = set()
        for name, key_node, value in self.pairs(node, path):
            full = f"{path}.{name}" if path else name
            if name not in keys:
                self._unknown(key_node, full, path, keys)
                continue
            written.add(name)
            if (read := self._any(value, keys[name], full)) is not WRONG:
                values[name] = read
        for key in keys.values():
            if key.default is msgspec.NODEFAULT and key.name not in written:
                self.problems.add(
                    mark_of(node.start_mark if node is not None else None),
                    f"`{path}` has no `{key.name}`",
                    f"add `{key.name}: ` with {expected(key)}",
                )
        return values

    def pairs(self, node: yaml.Node | None, path: str) -> Iterable[tuple[str, yaml.Node, yaml.Node]]:
        """The keys of a mapping, each once; an empty section (all of it commented out) has none."""
        if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == TAG + "null"):
            return
        if not isinstance(node, yaml.MappingNode):
            what = f"`{path}` is {kind_of(node)}" if path else f"the file holds {kind_of(node)}"
            self.problems.add(
                mark_of(node.start_mark), f"{what}, expected keys with values", "write `key: value` lines"
            )
            return
        seen: dict[str, int] = {}
        for key, value in node.value:
            mark = mark_of(key.start_mark)
            if not isinstance(key, yaml.ScalarNode):
                self.problems.add(mark, f"{kind_of(key)} cannot be a key", "write a name")
                continue
            name = key.value
            if name in seen:
                full = f"{path}.{name}" if path else name
                self.problems.add(mark, f"`{short(full)}` is already set in line {seen[name]}", "keep one of them")
                continue
            seen[name] = mark.line + 1
            yield name, key, value

    def named(self, node: yaml.Node, key: Key, path: str) -> Any:
        """Read sections by name; a program that has such a key says how."""
        raise TypeError(f"{key.name}: {path}, {node.tag}")

    def _any(self, node: yaml.Node, key: Key, path: str) -> Any:
        match key.description.kind:
            case Kind.SECTION:
                assert key.section is not None  # noqa: S101 (the description of a section stands beside its model)
                return self.section(node, key.section, path)
            case Kind.NAMED:
                return self.named(node, key, path)
            case Kind.SECTIONS:
                return self._sections(node, key, path)
            case Kind.TEXTS:
                return self._texts(node, key, path)
            case Kind.TEXT_MAP | Kind.VALUES:
                return self._map(node, key, path)
            case _:
                return self._single(node, key, path)

    def _unknown(self, node: yaml.Node, full: str, path: str, keys: dict[str, Key]) -> None:
        prefix = f"{path}." if path else ""
        name = full.removeprefix(prefix)[:200]
        near = difflib.get_close_matches(name, keys, n=1)
        if near:
            fix = f"did you mean `{prefix}{near[0]}`?"
        elif places := [place for place in every_key(self._root) if place.rpartition(".")[2] == name]:
            fix = f"did you mean `{places[0]}`?"
        else:
            fix = f"the keys {'of `' + path + '`' if path else 'here'} are {', '.join(keys)}"
        self.problems.add(mark_of(node.start_mark), f"there is no key `{short(full)}`", fix, unknown_key=True)

    def _single(self, node: yaml.Node, key: Key, path: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            return self.wrong(node, key, f"`{path}` is {kind_of(node)}")
        if node.tag == TAG + "null":
            return self.wrong(node, key, f"`{path}` has no value")
        match key.description.kind:
            case Kind.SECONDS:
                return self._number(node, key, path, parse_duration)
            case Kind.BYTES:
                return self._number(node, key, path, parse_size)
            case Kind.COUNT:
                return self._number(node, key, path, _parse_count)
            case Kind.NUMBER:
                return self._number(node, key, path, _parse_decimal)
            case Kind.SWITCH:
                if node.tag != TAG + "bool":
                    return self.wrong(node, key, f"`{path}` is {shown(node)}")
                return node.value.lower() in ("true", "yes", "on")
            case _:
                return self._text(node, key, path)

    def _number(self, node: yaml.ScalarNode, key: Key, path: str, parse: Callable[[str], float | None]) -> Any:
        about = key.description
        value = parse(node.value)
        if value is None:
            return self.wrong(node, key, f"`{path}` is {shown(node)}")
        if value == 0 and about.zero_means:
            return value
        if about.minimum is not None and value < about.minimum:
            return self.wrong(node, key, f"`{path}` is too small: {shown(node)}")
        if about.maximum is not None and value > about.maximum:
            return self.wrong(node, key, f"`{path}` is too large: {shown(node)}")
        return value

    def _text(self, node: yaml.Node, key: Key, path: str) -> Any:
        if not isinstance(node, yaml.ScalarNode) or node.tag == TAG + "null":
            return self.wrong(node, key, f"`{path}` is {kind_of(node)}")
        # A model may be called 4.1 and a choice `none`; a switch in place of text is a mistake (`off`).
        if node.tag == TAG + "bool":
            return self.wrong(node, key, f"`{path}` is {shown(node)}, which YAML reads as true or false")
        value = node.value
        about = key.description
        if key.choices is not None:
            choices = [member.value for member in key.choices]
            if value not in choices:
                near = difflib.get_close_matches(value[:200], choices, n=1)
                fix = f"did you mean {near[0]!r}?" if near else f"expected {expected(key)}"
                self.problems.add(mark_of(node.start_mark), f"`{path}` is {shown(node)}", fix)
                return WRONG
            return value
        # What is secret is not shown.
        named = f"`{path}`" if about.secret else f"`{path}` is {shown(node)}"
        if "\0" in value:
            return self.wrong(node, key, f"`{path}` holds a NUL character")
        if about.max_length is not None and len(value) > about.max_length:
            return self.wrong(node, key, f"`{path}` has {len(value):,} characters")
        if about.kind is not Kind.TEXT_MAP and about.pattern and not re.fullmatch(about.pattern, value, re.DOTALL):
            return self.wrong(node, key, f"{named} has not the right form" if about.secret else named)
        return value

    def _texts(self, node: yaml.Node, key: Key, path: str) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            return self.wrong(node, key, f"`{path}` is {kind_of(node)}")
        read = [self._text(item, key, f"{path}[{number}]") for number, item in enumerate(node.value)]
        return WRONG if WRONG in read else read

    def _sections(self, node: yaml.Node, key: Key, path: str) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.tag == TAG + "null":
            return []
        if not isinstance(node, yaml.SequenceNode):
            return self.wrong(node, key, f"`{path}` is {kind_of(node)}")
        most = key.description.most
        if most is not None and len(node.value) > most:
            return self.wrong(node, key, f"`{path}` has {len(node.value):,} sections")
        assert key.section is not None  # noqa: S101 (as above)
        return [self.section(item, key.section, f"{path}[{number}]") for number, item in enumerate(node.value)]

    def _map(self, node: yaml.Node, key: Key, path: str) -> Any:
        about = key.description
        read: dict[str, Any] = {}
        for name, key_node, value in self.pairs(node, path):
            full = f"{path}.{name}"
            if not re.fullmatch(about.pattern, name, re.DOTALL):
                self.problems.add(
                    mark_of(key_node.start_mark),
                    f"{short(name)!r} cannot stand in `{path}`",
                    f"expected {about.pattern_means}",
                )
            elif about.kind is Kind.VALUES:
                read[name] = self._json(value, full)
            elif isinstance(value, yaml.ScalarNode) and value.tag == TAG + "null":
                read[name] = None
            elif (one := self._text(value, key, full)) is not WRONG:
                read[name] = one
            if about.most is not None and len(read) > about.most:
                return self.wrong(node, key, f"`{path}` has more than {about.most:,} keys")
        return read

    def _json(self, node: yaml.Node, path: str) -> Any:
        match node:
            case yaml.MappingNode():
                return {name: self._json(value, f"{path}.{name}") for name, _, value in self.pairs(node, path)}
            case yaml.SequenceNode():
                return [self._json(item, f"{path}[{number}]") for number, item in enumerate(node.value)]
            case yaml.ScalarNode():
                return _plain_value(node)
            case _:
                raise TypeError(str(node.tag))

    def wrong(self, node: yaml.Node, key: Key, what: str) -> object:
        """Note that the value at `node` is not what `key` wants."""
        self.problems.add(mark_of(node.start_mark), what, f"expected {expected(key)}")
        return WRONG


def _plain_value(node: yaml.ScalarNode) -> Any:
    """A scalar as JSON knows it. YAML 1.1's other numbers (010 is 8, 1:30 is 90) stay text."""
    value = str(node.value)
    match str(node.tag).removeprefix(TAG):
        case "null":
            return None
        case "bool":
            return value.lower() in ("true", "yes", "on")
        case "int" if _INTEGER.fullmatch(value):
            return int(value)
        case "float" if _DECIMAL.fullmatch(value):
            return float(value)
        case _:
            return value


def place_of(root: yaml.Node | None, *path: str | int) -> Mark:
    """The place of a key, or of the nearest section around it; a number picks from a list."""
    node = root
    for step in path:
        found: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            found = next((value for key, value in node.value if key.value == step), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            found = node.value[step]
        if found is None:
            break
        node = found
    return mark_of(node.start_mark if node is not None else None)


def every_key(model: type[msgspec.Struct], path: str = "") -> Iterable[str]:
    """Every key below the sections of `model` by its full name; those of a list's sections have `[]` in it."""
    for key in keys_of(model):
        if key.section is not None:
            below = f"{path}{key.name}{'[]' if key.description.kind is Kind.SECTIONS else ''}."
            yield from every_key(key.section, below)
        elif path:
            yield f"{path}{key.name}"


def _parse_count(written: str) -> int | None:
    digits = written.replace("_", "").replace(",", "")
    return int(digits) if re.fullmatch(r"[0-9]{1,15}", digits) and not re.match(r"0[0-9]", digits) else None


def _parse_decimal(written: str) -> float | None:
    return float(written) if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", written) else None


def expected(key: Key) -> str:
    """What `key` wants, in words."""
    if key.choices is not None:
        one = " or ".join(quoted(member) for member in key.choices)
        return f"a list of {one}" if key.description.kind is Kind.TEXTS else one
    bounds = key.bounds()
    return f"{_EXPECTED[key.description.kind]}" + (f", {bounds}" if bounds else "")


def quoted(value: str) -> str:
    """Return a value as code; two quotation marks stand for an empty one."""
    return f"`{value}`" if value else '`""`'


def kind_of(node: yaml.Node) -> str:
    """Say what a node is."""
    return _WRITTEN.get(str(node.tag).removeprefix(TAG), "something else")


def shown(node: yaml.ScalarNode) -> str:
    """Return a scalar as a person may see it."""
    return repr(short(str(node.value)))


def short(text: str) -> str:
    """Cut a text for a message."""
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= 60 else text[:57] + "..."
