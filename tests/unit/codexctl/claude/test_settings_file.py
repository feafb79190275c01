"""Settings are given back as they were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from codexctl.claude.settings_file import give_back, keep, restored, settings_path

OURS: dict[str, object] = {"enabledPlugins": {}, "extraKnownMarketplaces": {}}
STRANGE = b'{\n  "theme": "dark",\n      "model":"opus"}'


def after(before: bytes, **more: object) -> bytes:
    """What Claude Code leaves after an uninstall."""
    return json.dumps({**(json.loads(before) if before else {}), **OURS, **more}, indent=2).encode()


@pytest.mark.parametrize("before", [b"", b"{}", STRANGE, b'{"enabledPlugins": {"other@x": true}}\n', b" \n"])
def test_bytes_are_those_of_before(before: bytes) -> None:
    now = json.loads(after(before.strip()))
    if b"other" in before:
        now["enabledPlugins"] = {"other@x": True}
    assert restored(before, json.dumps(now).encode()) == before


def test_an_empty_key_of_the_user_stays() -> None:
    before = b'{"enabledPlugins":{}}'
    assert restored(before, after(before)) == before


def test_what_was_changed_since_stays() -> None:
    kept = json.loads(restored(STRANGE, after(STRANGE, model="sonnet")))
    assert kept == {"theme": "dark", "model": "sonnet"}


def test_what_is_no_settings_is_not_touched() -> None:
    assert restored(STRANGE, b"{ half") == b"{ half"
    assert restored(b"[]", b"{}") == b"{}"


def test_keep_and_give_back(tmp_path: Path) -> None:
    settings, kept = tmp_path / "settings.json", tmp_path / "kept"
    settings.write_bytes(STRANGE)
    settings.chmod(0o640)
    kept.write_bytes(b"of an installation that somebody undid by hand")
    keep(settings, kept, anew=True)
    settings.write_bytes(after(STRANGE))
    keep(settings, kept, anew=False)  # installing twice remembers the first
    give_back(settings, kept)
    assert settings.read_bytes() == STRANGE
    assert settings.stat().st_mode & 0o777 == 0o640
    assert not kept.exists()
    give_back(settings, kept)


def test_file_that_was_not_there_is_gone_again(tmp_path: Path) -> None:
    settings, kept = tmp_path / "settings.json", tmp_path / "kept"
    keep(settings, kept, anew=True)
    settings.write_bytes(after(b""))
    give_back(settings, kept)
    assert not settings.exists()


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "dotfiles/settings.json").write_text("{}")
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude/settings.json").symlink_to(tmp_path / "dotfiles/settings.json")
    assert settings_path({"HOME": str(tmp_path)}) == tmp_path.resolve() / "dotfiles/settings.json"
    assert settings_path({"CLAUDE_CONFIG_DIR": str(tmp_path)}) == tmp_path.resolve() / "settings.json"
