"""Imports point one way, as docs/architecture.md says: from the top of a program's list of rooms to the bottom."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/architecture.md").read_text()
# What the page names beside the lists.
UPWARDS = {("codex_supervisor/metrics.py", "codex_supervisor.task.records")}


def rooms(heading: str) -> list[tuple[str, ...]]:
    """The first column of the table below a heading, a tuple of names for each row."""
    table = PAGE.partition(f"### {heading}\n")[2].partition("\n#")[0]
    rows = [re.findall(r"`([^`]+)`", line.split("|")[1]) for line in table.splitlines() if line.startswith("| `")]
    return [tuple(name.rstrip("/").removesuffix(".py") for name in row) for row in rows]


def imports(source: Path) -> Iterator[str]:
    """What runs when the module, or a function in it, does; not what only the type checker reads."""
    tree = ast.parse(source.read_text())
    for_types = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    left_out = {inner for node in for_types for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize(
    ("heading", "package"),
    [("The supervisor", "supervisor/codex_supervisor"), ("The gateway", "gateway/codex_gateway")],
)
def test_imports_point_down_the_list(heading: str, package: str) -> None:
    listed = rooms(heading)
    folder = REPOSITORY / package

    def place(room: str) -> int | None:
        return next((place for place, names in enumerate(listed) if any(fnmatch(room, name) for name in names)), None)

    rooms_there = {path.name for path in folder.iterdir() if (path / "__init__.py").exists()}
    assert not {room for room in rooms_there if place(room) is None}, "a room that the page does not know"
    upwards = set()
    for source in folder.rglob("*.py"):
        here = place(source.relative_to(folder).parts[0].removesuffix(".py"))
        for module in imports(source):
            there = place(module.split(".")[1]) if module.startswith(f"{folder.name}.") else None
            if here is not None and there is not None and there < here:
                upwards.add((str(source.relative_to(folder.parent)), module))
    assert upwards == {one for one in UPWARDS if one[0].startswith(folder.name)}


@pytest.mark.parametrize(
    ("package", "strangers"),
    [
        ("proto/codex_control", ("codex_supervisor", "codex_gateway", "codexctl")),
        ("supervisor/codex_supervisor", ("codex_gateway", "codexctl")),
        ("gateway/codex_gateway", ("codex_supervisor", "codexctl")),
        ("ctl/codexctl", ("codex_supervisor", "codex_gateway")),
    ],
)
def test_programs_know_only_what_they_share(package: str, strangers: tuple[str, ...]) -> None:
    for source in (REPOSITORY / package).rglob("*.py"):
        assert not {module for module in imports(source) if module.split(".")[0] in strangers}, source
