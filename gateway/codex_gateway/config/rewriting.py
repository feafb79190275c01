"""Changes config.yaml and leaves every byte alone that the change is not about: comments, order, quotes, blank lines.

The places come from PyYAML's marks, and the text is changed there. (ruamel.yaml, which is made for this, moved comments
to other endpoints when they change places, and wrote `off` anew as `false`.) The result is read again by our own reader
and must mean exactly what was asked for, before it takes the old file's place.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
import yaml
from codex_control.errors import BadConfig, BadInput, NotFound
from codex_control.paths import make_private_dir
from codex_control.service.nearest import did_you_mean
from codex_control.service.own_file import write_whole
from codex_control.service.yaml_nodes import compose

from codex_gateway.config.endpoint import Endpoint
from codex_gateway.config.model import Config
from codex_gateway.config.reading import MAX_DEPTH, parse_config
from codex_gateway.config.writing import values_to_write, write_yaml
from codex_gateway.one_writer import one_writer

HEAD = """\
# The configuration of codex-gateway. Every key: `codex-gateway config reference`.
"""
PRIORITY_STEP = 10
"""Between two neighbours after a reorder: a person can put one between them."""


def set_enabled(text: str, names: Iterable[str], enabled: bool) -> str:
    """Return `text` with endpoints switched on or off. Raises `NotFound` for a name that it has not."""
    for name in names:
        text = _with_scalar(text, name, "enabled", "true" if enabled else "false", leave_out=enabled)
    return text


def reorder(text: str, names: Iterable[str]) -> str:
    """Return `text` with the named endpoints first, in that order, before all others: in the file and by priority.

    Priorities become 10, 20, 30, … in the new order, as two that are alike would still share requests. An endpoint
    takes the comments above it along. Raises `NotFound` for a name that it has not, `BadInput` for one given twice.
    """
    first = list(names)
    if len(set(first)) < len(first):
        raise BadInput(what="an endpoint is named twice", next_step="name each once")
    there = parse_config(text, "config.yaml").endpoints
    for name in first:
        _position(there, name)
    rest = sorted((one for one in there if one.name not in first), key=lambda one: one.priority)
    order = [*first, *(one.name for one in rest)]
    listed = _listed(text)
    if listed is not None and not listed.flow_style:
        items = _items(text, listed)
        by_name = {endpoint.name: item for endpoint, item in zip(there, items.parts, strict=True)}
        text = items.head + "".join(by_name[name] for name in order) + items.tail
    for place, name in enumerate(order, 1):
        text = _with_scalar(text, name, "priority", str(place * PRIORITY_STEP))
    return text


def add_endpoints(text: str, endpoints: Iterable[Endpoint]) -> str:
    """Return `text` with endpoints added behind the last; only what differs from the defaults is written.

    Raises `BadInput` where one of that name is there already.
    """
    for endpoint in endpoints:
        if any(one.name == endpoint.name for one in parse_config(text, "config.yaml").endpoints):
            raise BadInput(
                what=f"there is already an endpoint {endpoint.name!r}",
                next_step="remove it from config.yaml, or give the new one another name",
            )
        text = _added(text, endpoint)
    return text


def rewrite_config(path: Path, change: Callable[[str], str]) -> Config:
    """Read the file at `path`, let `change` make a new text of it, and put that in its place at once, mode 0600.

    A symbolic link stays one: the file behind it is replaced. Raises `BadConfig` where the file is wrong before or
    after the change (it then stays as it was), and whatever `change` raises.
    """
    target = path.resolve()
    if not target.parent.exists():
        make_private_dir(target.parent)
    try:
        with one_writer(target.parent):
            return _rewrite(path, target, change)
    except OSError as error:
        raise BadConfig(
            what=f"{path} cannot be changed", why=error.strerror or str(error), next_step="make it writable"
        ) from error


def _rewrite(path: Path, target: Path, change: Callable[[str], str]) -> Config:
    try:
        # As it is: no newline is translated.
        text = target.read_bytes().decode("utf-8")
    except FileNotFoundError:
        text = HEAD
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(what=f"{path} cannot be read", why=str(error), next_step="make it readable") from error
    parse_config(text, str(path))
    new = change(text)
    config = parse_config(new, f"{path} (as changed)")
    if new != text:
        write_whole(target, new, 0o600)
    return config


def write_endpoint(endpoint: Endpoint) -> str:
    """Return an endpoint as an item of the list `endpoints`, whose dash stands at the beginning of a line."""
    return write_yaml([values_to_write(endpoint)])


def _with_scalar(text: str, name: str, key: str, value: str, *, leave_out: bool = False) -> str:
    """Set one key of an endpoint. `leave_out`: it is the default, so it is not written where it does not stand yet."""
    before = parse_config(text, "config.yaml")
    position = _position(before.endpoints, name)
    listed = _listed(text)
    assert listed is not None  # noqa: S101 (the endpoint is in it)
    item = listed.value[position]
    there = next((node for at, node in item.value if at.value == key), None)
    if there is not None:
        new = text[: there.start_mark.index] + value + text[there.end_mark.index :]
    elif leave_out:
        return text
    else:
        at, node = next((at, node) for at, node in item.value if at.value == "name")
        if item.flow_style:
            end = node.end_mark.index
            new = f"{text[:end]}, {key}: {value}{text[end:]}"
        else:
            # Below the name, behind its comment.
            end = text.find("\n", node.end_mark.index)
            end = len(text) if end < 0 else end
            newline = "\r\n" if text[end - 1 : end] == "\r" else "\n"
            end -= newline == "\r\n"
            new = f"{text[:end]}{newline}{' ' * at.start_mark.column}{key}: {value}{text[end:]}"
    endpoints = list(before.endpoints)
    endpoints[position] = msgspec.structs.replace(endpoints[position], **{key: json.loads(value)})
    if parse_config(new, "config.yaml") != msgspec.structs.replace(before, endpoints=tuple(endpoints)):
        raise _by_hand()
    return new


def _added(text: str, endpoint: Endpoint) -> str:
    before = parse_config(text, "config.yaml")
    written = write_endpoint(endpoint)
    if text and not text.endswith("\n"):
        text += "\n"
    root = compose(text, MAX_DEPTH)
    listed = _listed(text)
    if listed is not None and listed.value and not listed.flow_style:
        items = _items(text, listed)
        dash = listed.start_mark.column
        new = items.head + "".join(items.parts) + _indented(written, dash) + items.tail
    elif isinstance(root, yaml.MappingNode) and (
        at := next((k for k, _ in root.value if k.value == "endpoints"), None)
    ):
        node = next(value for key, value in root.value if key.value == "endpoints")
        if getattr(node, "value", None) not in ([], "", "~", "null") or root.flow_style:
            raise _by_hand()
        # `endpoints:` or `endpoints: []`
        end = text.index("\n", max(at.end_mark.index, node.end_mark.index if node.value else 0))
        colon = text.index(":", at.end_mark.index) + 1
        comment = re.search(r"\s+#.*", text[colon:end])
        new = text[:colon] + (comment[0] if comment else "") + "\n" + _indented(written, 2) + text[end + 1 :]
    elif root is None or (isinstance(root, yaml.MappingNode) and not root.flow_style):
        new = text + "endpoints:\n" + _indented(written, 2)
    else:
        raise _by_hand()
    if parse_config(new, "config.yaml") != msgspec.structs.replace(before, endpoints=(*before.endpoints, endpoint)):
        raise _by_hand()
    return new


def _indented(written: str, columns: int) -> str:
    # A text of several lines in quotes may not be indented: it would change. The check behind it finds that.
    return "".join(" " * columns + line for line in written.splitlines(keepends=True))


class _Items:
    """A list in block style, cut into its items; `head + parts + tail` is the text."""

    def __init__(self, head: str, parts: list[str], tail: str) -> None:
        self.head, self.parts, self.tail = head, parts, tail


def _items(text: str, listed: yaml.SequenceNode) -> _Items:
    """Cut the text before each item's dash, or before the comment lines that stand directly above it."""
    lines = text.splitlines(keepends=True)
    dash = listed.start_mark.column
    starts = []
    for item in listed.value:
        line = item.start_mark.line
        # An item may begin below its dash.
        while not lines[line][dash:].startswith("-"):
            line -= 1
        while lines[line - 1].lstrip().startswith("#") and _indent(lines[line - 1]) <= dash:
            line -= 1
        starts.append(line)
    end = _last_line(listed) + 1
    # Comments behind the last item that are indented as its keys are belong to it.
    while end < len(lines) and lines[end].lstrip().startswith("#") and _indent(lines[end]) > dash:
        end += 1
    cuts = [*starts, end]
    parts = ["".join(lines[low:high]) for low, high in itertools.pairwise(cuts)]
    if parts and not parts[-1].endswith("\n"):
        parts[-1] += "\n"
    return _Items("".join(lines[: starts[0]]), parts, "".join(lines[end:]))


def _last_line(node: yaml.Node) -> int:
    """The last line of a node's own text; a block's end mark stands at the next token, behind comments."""
    if isinstance(node, yaml.ScalarNode) or getattr(node, "flow_style", False) or not node.value:
        end = node.end_mark
        # The mark of a block scalar stands at the beginning of the line behind it.
        return int(end.line - (end.column == 0 and end.line > node.start_mark.line))
    last = node.value[-1]
    return _last_line(last[1] if isinstance(last, tuple) else last)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _listed(text: str) -> yaml.SequenceNode | None:
    root = compose(text, MAX_DEPTH)
    pair = _pair(root) if isinstance(root, yaml.MappingNode) else None
    return pair[1] if pair is not None and isinstance(pair[1], yaml.SequenceNode) else None


def _pair(root: yaml.MappingNode) -> tuple[yaml.Node, yaml.Node] | None:
    return next(((key, value) for key, value in root.value if key.value == "endpoints"), None)


def _position(endpoints: Sequence[Endpoint], name: str) -> int:
    names = [endpoint.name for endpoint in endpoints]
    if name not in names:
        raise NotFound(
            what=f"there is no endpoint {name[:200]!r}",
            why=f"config.yaml has {', '.join(names) or 'none'}",
            next_step=did_you_mean(name, names) or "name one of them",
        )
    return names.index(name)


def _by_hand() -> BadConfig:
    return BadConfig(
        what="config.yaml is written in a way that cannot be changed here without losing something",
        next_step="change it by hand, or write each endpoint on lines of its own",
    )
