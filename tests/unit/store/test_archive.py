"""Archive files: read back whole, readable with other tools, and as far as possible when damaged."""

from __future__ import annotations

import gzip
import os
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from codex_supervisor.store import archive as archive_module
from codex_supervisor.store.archive import Archive, ArchivedTurn, ArchiveName, WrittenFile
from codex_supervisor.store.records import Outcome
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.store.samples import turn


def line(number: int, answer_bytes: int = 3000) -> ArchivedTurn:
    # Random, so that the members are not packed to nothing.
    answer = random.Random(number).randbytes(answer_bytes // 2).hex()
    ended = msgspec.structs.replace(turn(number), answer=answer, outcome=Outcome.COMPLETED, ended_ns=5)
    return ArchivedTurn(number, 7, ended)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


@pytest.fixture
def written(archive: Archive) -> WrittenFile:
    return archive.write("blue", [line(number) for number in range(1, 101)])


def path_of(archive: Archive, written: WrittenFile) -> Path:
    return archive.directory / written.name.name


def readable(archive: Archive, written: WrittenFile) -> list[int]:
    """What is found by the offsets, as pages do."""
    archive.drop_cache()
    return [number for number, offset in written.offsets if archive.read_turn(written.name.name, offset, number)]


def scanned(archive: Archive, written: WrittenFile) -> list[int]:
    return [found.number for _, found in archive.scan(written.name.name)]


def test_every_turn_comes_back_by_its_offset(archive: Archive, written: WrittenFile) -> None:
    assert [number for number, _ in written.offsets] == list(range(1, 101))
    assert 3 <= len({offset for _, offset in written.offsets}) <= 10
    for number, offset in written.offsets:
        assert archive.read_turn(written.name.name, offset, number) == line(number).turn
    assert [(keys.number, offset) for offset, keys in archive.scan(written.name.name)] == list(written.offsets)
    keys = next(iter(archive.scan(written.name.name)))[1]
    assert (keys.number, keys.last_seq) == (1, 7)
    assert (keys.turn.id, keys.turn.request_id, keys.turn.instance) == ("turn-1", "request-1", "blue")
    assert archive.size_bytes(written.name.name) == written.bytes


def test_other_tools_read_it(archive: Archive, written: WrittenFile) -> None:
    with gzip.open(path_of(archive, written), "rt") as file:
        turns = [msgspec.json.decode(text) for text in file]
    assert [found["turn"]["id"] for found in turns] == [f"turn-{number}" for number in range(1, 101)]


def test_a_turn_larger_than_a_member(archive: Archive) -> None:
    written = archive.write("blue", [line(1), line(2, 3 * archive_module.MEMBER_BYTES), line(3)])
    assert readable(archive, written) == scanned(archive, written) == [1, 2, 3]


def test_what_is_kept_while_reading_is_bounded(
    archive: Archive, written: WrittenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "CACHE_BYTES", 2 * archive_module.MEMBER_BYTES)
    for _ in range(2):
        for number, offset in written.offsets:
            assert archive.read_turn(written.name.name, offset, number) == line(number).turn
            assert archive._cached_bytes <= archive_module.CACHE_BYTES
    assert 1 <= len(archive._cache) <= 2
    archive.drop_cache()
    assert (archive._cached_bytes, len(archive._cache)) == (0, 0)


def test_names_tell_span_and_instance(archive: Archive, written: WrittenFile) -> None:
    archive.write("a/b ..@ü", [line(200)])
    (archive.directory / "notes.txt").write_text("somebody's")
    (archive.directory / "left.tmp").write_text("of an interrupted writing")
    names = archive.names()
    assert [(name.first, name.last, name.instance) for name in names] == [(1, 100, "blue"), (200, 200, "a/b ..@ü")]
    assert sorted(path.name for path in archive.directory.iterdir()) == sorted(
        ["notes.txt", *(name.name for name in names)]
    )


@given(instance=st.text(max_size=60), first=st.integers(1, 2**52), more=st.integers(0, 1000))
def test_a_name_is_parsed_as_it_was_made(instance: str, first: int, more: int) -> None:
    try:
        instance.encode()
    except UnicodeEncodeError:
        return
    name = ArchiveName.of(first, first + more, instance)
    assert "/" not in name.name
    assert ArchiveName.parse(name.name) == name


@pytest.mark.parametrize("cut", [1, 100, 5000, 40_000, 100_000])
def test_a_truncated_file_gives_what_is_before_the_cut(
    archive: Archive, written: WrittenFile, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    os.truncate(path_of(archive, written), written.bytes - cut)
    left = readable(archive, written)
    assert left == list(range(1, len(left) + 1))
    assert scanned(archive, written) == left
    assert len(left) >= 100 * (written.bytes - cut) / written.bytes - 2, "also the whole lines of the last member"
    assert len(left) < 100 or cut < 20
    assert [record.getMessage() for record in caplog.records] == [
        "an archive file is damaged; what is readable is shown"
    ], "once"


@pytest.mark.parametrize("where", [0.0, 0.1, 0.5, 0.999])
def test_a_corrupt_file_loses_one_member(
    archive: Archive, written: WrittenFile, where: float, caplog: pytest.LogCaptureFixture
) -> None:
    with path_of(archive, written).open("r+b") as file:
        file.seek(int(written.bytes * where))
        old = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([old[0] ^ 0x55]))
    hit = max(offset for _, offset in written.offsets if offset <= int(written.bytes * where))
    expected = [number for number, offset in written.offsets if offset != hit]
    assert readable(archive, written) == scanned(archive, written) == expected
    assert len(caplog.records) == 1


@given(seed=st.integers(0, 10**6))
def test_no_damage_raises_or_changes_an_answer(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    chance = random.Random(seed)
    archive = Archive(tmp_path_factory.mktemp("damage"))
    written = archive.write("blue", [line(number) for number in range(1, 50)])
    data = bytearray(path_of(archive, written).read_bytes())
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(len(data))
        data[at : at + chance.randint(0, 9)] = chance.randbytes(chance.randint(0, 9))
    path_of(archive, written).write_bytes(data)
    for _, keys in archive.scan(written.name.name):
        assert keys.turn.id == f"turn-{keys.number}"
    for number, offset in written.offsets:
        assert archive.read_turn(written.name.name, offset, number) in (None, line(number).turn)


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08", b"garbage" * 9999])
def test_a_file_of_nothing(archive: Archive, written: WrittenFile, content: bytes) -> None:
    path_of(archive, written).write_bytes(content)
    assert readable(archive, written) == scanned(archive, written) == []


def test_a_missing_file_and_a_link(archive: Archive, written: WrittenFile, tmp_path: Path) -> None:
    path_of(archive, written).rename(tmp_path / "elsewhere")
    assert readable(archive, written) == scanned(archive, written) == []
    path_of(archive, written).symlink_to(tmp_path / "elsewhere")
    assert readable(archive, written) == [], "a link is not followed"


def test_a_failed_writing_leaves_nothing(archive: Archive) -> None:
    def lines() -> Iterator[ArchivedTurn]:
        yield line(1)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - it has no text
        archive.write("blue", lines())
    assert list(archive.directory.iterdir()) == []
