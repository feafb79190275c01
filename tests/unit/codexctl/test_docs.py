"""The pages about codexctl name what there is."""

from __future__ import annotations

import re
from pathlib import Path

from codex_control.errors import Exit
from codexctl.__main__ import CLOSED_PIPE
from codexctl.json_schema import VERBS as DESCRIBED
from codexctl.root import VERBS

DOCS = Path(__file__).parents[3] / "docs"


def test_every_verb_is_in_the_table() -> None:
    page = (DOCS / "codexctl.md").read_text()
    named = set(re.findall(r"`([a-z]+)[ `]", page))
    assert set(VERBS) <= named


def test_every_exit_code_is_in_the_table() -> None:
    page = (DOCS / "codexctl.md").read_text()
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == {*map(int, Exit), CLOSED_PIPE}


def test_every_verbs_json_is_in_the_table() -> None:
    page = (DOCS / "json.md").read_text()
    for name, definition in DESCRIBED.items():
        verb = name.split()[0]
        rows = [line for line in page.splitlines() if line.startswith("| ") and f"`{verb}" in line]
        assert any(f"`{definition}`" in row for row in rows), name
