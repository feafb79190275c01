"""Every error that a person's request can meet says what to do about it."""

from __future__ import annotations

import ast
from pathlib import Path

import codex_supervisor
import codexctl
import pytest
from codex_control.errors import all_errors

SUPERVISOR, CODEXCTL = Path(codex_supervisor.__file__).parent, Path(codexctl.__file__).parent
FILES = [path for room in ("rpc", "instance", "turn") for path in sorted((SUPERVISOR / room).glob("*.py"))]
FILES += sorted((CODEXCTL / "commands").rglob("*.py")) + sorted(CODEXCTL.glob("*.py"))
ERRORS = {kind.__name__ for kind in all_errors().values()} - {"ChildFailed"}  # of the child; carried on, not told


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_error_has_a_next_step(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    without = [
        f"line {call.lineno}: {ast.unparse(call)}"
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id in ERRORS
        if "next_step" not in {keyword.arg for keyword in call.keywords}
    ]
    assert not without
