"""A request as a zip."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path

import pytest
from codex_control.errors import UnsafePath
from codex_gateway.record.export import write_zip
from codex_gateway.record.query import opened

from tests.unit.gateway.record.conftest import Log, entry


async def test_everything_is_in_it_but_secrets(recording: Log, tmp_path: Path) -> None:
    asked = entry("one", outcome="failed", attempts=2)
    recording.log.begun(asked)
    recording.log.ended(asked)
    await recording.log.close()
    settings = {"endpoint": {"name": "e1", "auth": {"api_key": "sk-secret-1234567890"}, "url": "https://u:pw@host/"}}
    path = tmp_path / "one.zip"
    with opened(recording.path) as records:
        found = records.request("one")
        names = write_zip(path, found, records.bodies(found), settings)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(names) == [
        "README.txt",
        "attempt-1/answer.txt",
        "attempt-1/request.json",
        "attempt-2/answer.txt",
        "attempt-2/request.json",
        "meta.json",
        "request.json",
        "settings.json",
    ]
    with zipfile.ZipFile(path) as archive:
        meta = json.loads(archive.read("meta.json"))
        assert [one["endpoint"] for one in meta["attempts"]] == ["e0", "e1"]
        assert json.loads(archive.read("request.json")) == {"input": "What is 6 times 7?"}
        whole = b"".join(archive.read(name) for name in archive.namelist())
    assert b"1234567890" not in whole
    assert b"u:pw" not in whole


async def test_nothing_is_written_over(recording: Log, tmp_path: Path) -> None:
    asked = entry("one")
    recording.log.begun(asked)
    recording.log.ended(asked)
    await recording.log.close()
    path = tmp_path / "one.zip"
    path.write_text("mine")
    with opened(recording.path) as records, pytest.raises(UnsafePath, match="exists already"):
        write_zip(path, records.request("one"), [], {})
    assert path.read_text() == "mine"
