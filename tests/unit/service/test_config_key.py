"""Durations, sizes and texts as they are written in YAML."""

from __future__ import annotations

import pytest
import yaml
from codex_control.service.config_key import (
    Kind,
    format_duration,
    format_size,
    format_text,
    keys_of,
    parse_duration,
    parse_size,
)
from codex_supervisor.config.model import Config
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("15m", 900),
        ("1h30m", 5400),
        ("7d", 604800),
        ("12", 12),
        ("0.5", 0.5),
        ("1.5h", 5400),
    ],
)
def test_durations_are_read(written: str, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "s", "1x", "-1s", "1:30", "1 s", "1e3", "inf", "nan", "1..5s", "9" * 400, "٣s"]
)
def test_what_is_no_duration_is_refused(written: str) -> None:
    assert parse_duration(written) is None


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("512MiB", 512 * 2**20),
        ("1MB", 10**6),
        ("1 GiB", 2**30),
        ("1024", 1024),
        ("1.5KiB", 1536),
        ("2gib", 2**31),
        ("0", 0),
    ],
)
def test_sizes_are_read(written: str, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize("written", ["", "MiB", "-1", "1PiB", "1 M", "0x10", "nan", "1e3"])
def test_what_is_no_size_is_refused(written: str) -> None:
    assert parse_size(written) is None


@given(st.integers(0, 10**15).map(lambda microseconds: microseconds / 10**6).filter(lambda seconds: seconds < 10**9))
def test_a_written_duration_reads_as_the_same(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-6)


@given(st.integers(0, 10**14))
def test_a_written_size_reads_as_the_same(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.text().filter(lambda text: not any(0xD800 <= ord(character) <= 0xDFFF for character in text)))
def test_a_written_text_reads_as_the_same(text: str) -> None:
    written = format_text(text)
    assert "\n" not in written
    assert yaml.safe_load(f"key: {written}") == {"key": text}


def test_every_key_says_what_it_is_for_and_its_default_is_within_its_bounds() -> None:
    for section in keys_of(Config):
        assert section.description.text.endswith(".")
        for key in keys_of(section.section) if section.section else ():
            about = key.description
            assert about.text.endswith("."), key.name
            if about.kind in (Kind.SECONDS, Kind.BYTES, Kind.COUNT):
                assert about.minimum is not None, key.name
                assert about.maximum is not None, key.name
                in_bounds = about.minimum <= key.default <= about.maximum
                assert in_bounds or (key.default == 0 and about.zero_means), key.name
