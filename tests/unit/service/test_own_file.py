"""Whose file is it?"""

from __future__ import annotations

from pathlib import Path

import pytest
from codex_control.service.own_file import Owner, blank_seal, owner_of, sealed, write_whole


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    file = tmp_path / "deep" / "unit"
    write_whole(file, sealed(f"# {blank_seal('codex-supervisor')}\n[Service]\nExecStart=größer\n"), 0o644)
    return file


def test_ours_until_a_person_edits_it(ours: Path) -> None:
    assert owner_of(ours) is Owner.OURS
    ours.write_text(ours.read_text().replace("größer", "kleiner"))
    assert owner_of(ours) is Owner.EDITED


def test_what_we_did_not_write_is_foreign(tmp_path: Path, ours: Path) -> None:
    assert owner_of(tmp_path / "absent") is Owner.NOBODY
    (tmp_path / "foreign").write_bytes(b"\xff[Service]\n")
    assert owner_of(tmp_path / "foreign") is Owner.FOREIGN
    (tmp_path / "link").symlink_to(ours)
    assert owner_of(tmp_path / "link") is Owner.FOREIGN
    assert owner_of(tmp_path) is Owner.FOREIGN


def test_a_text_without_a_place_for_the_seal_is_a_fault() -> None:
    with pytest.raises(ValueError, match="no place"):
        sealed("[Service]")


def test_writing_leaves_nothing_else_behind(ours: Path) -> None:
    write_whole(ours, "new", 0o600)
    assert ours.read_text() == "new"
    assert ours.stat().st_mode & 0o777 == 0o600
    assert list(ours.parent.iterdir()) == [ours]


def test_failed_writing_keeps_the_old_file(ours: Path, tmp_path: Path) -> None:
    before = ours.read_text()
    with pytest.raises(UnicodeEncodeError):
        write_whole(ours, "\ud800", 0o644)
    assert ours.read_text() == before
    assert list(ours.parent.iterdir()) == [ours]
