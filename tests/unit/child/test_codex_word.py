"""What a person has to type to run the Codex in use."""

from __future__ import annotations

import shlex
from pathlib import Path

from codex_control.codex_wheel import codex_of_wheel
from codex_supervisor.child.locate import codex_word


def test_codex_on_path_is_called_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "codex").touch(mode=0o755)
    assert codex_word("", {"PATH": str(tmp_path)}) == "codex"


def test_another_one_is_called_by_its_whole_path(tmp_path: Path) -> None:
    empty = {"PATH": str(tmp_path)}
    configured = tmp_path / "my codex"
    configured.touch(mode=0o755)
    assert codex_word("", empty) == str(codex_of_wheel())
    assert codex_word(str(configured), empty) == shlex.quote(str(configured))


def test_where_there_is_none_the_name_has_to_do(tmp_path: Path) -> None:
    assert codex_word(str(tmp_path / "none"), {"PATH": str(tmp_path)}) == "codex"
