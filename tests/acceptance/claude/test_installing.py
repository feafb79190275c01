"""The plugin for plain `claude`: it is valid, it works, and afterwards nothing of it is left in the settings."""

from __future__ import annotations

import pytest

from tests.support.claude_code import ClaudeCode
from tests.support.supervisor import RunningSupervisor

pytestmark = pytest.mark.real_claude

STRANGE = b'{\n  "theme": "dark",\n      "cleanupPeriodDays":99}'


async def test_plugin_and_marketplace_are_valid(claude: ClaudeCode) -> None:
    for path in (claude.plugin, claude.plugin.parent):
        checked = await claude.run("plugin", "validate", "--strict", str(path), program="claude")
        assert "Validation passed" in checked, checked
        assert checked.code == 0


async def test_settings_are_those_before_the_last_installation(claude: ClaudeCode) -> None:
    settings, codexctl = claude.config_dir / "settings.json", str(claude.codexctl)
    settings.parent.mkdir()
    settings.write_bytes(b"{}")
    assert (await claude.run("claude", "install", program=codexctl)).code == 0
    for undo in (["uninstall", "codex@codex-supervisor"], ["marketplace", "remove", "codex-supervisor"]):
        assert (await claude.run("plugin", *undo, program="claude")).code == 0
    settings.write_bytes(STRANGE)
    for verb in ("install", "uninstall"):
        assert (await claude.run("claude", verb, program=codexctl)).code == 0
    assert settings.read_bytes() == STRANGE


async def test_broken_settings_are_told_and_nothing_is_taken_away(claude: ClaudeCode) -> None:
    settings, codexctl = claude.config_dir / "settings.json", str(claude.codexctl)
    assert (await claude.run("claude", "install", program=codexctl)).code == 0
    whole = settings.read_bytes()
    settings.write_bytes(whole.rstrip()[:-1])
    for verb in ("uninstall", "install", "status"):
        told = await claude.run("claude", verb, program=codexctl)
        assert (told.code, "settings.json cannot be read" in told.err) == (9, True), told
    settings.write_bytes(whole)
    assert (await claude.run("claude", "uninstall", program=codexctl)).code == 0
    assert not settings.exists()


@pytest.mark.parametrize("before", [None, b"{}", STRANGE], ids=["no file", "empty", "strange"])
async def test_uninstall_leaves_the_settings_as_they_were(
    claude: ClaudeCode, supervisor: RunningSupervisor, before: bytes | None
) -> None:
    settings = claude.config_dir / "settings.json"
    if before is not None:
        settings.parent.mkdir()
        settings.write_bytes(before)
    codexctl = str(claude.codexctl)
    for _ in range(2):
        installed = await claude.run("claude", "install", program=codexctl)
        assert installed.code == 0, installed.err
    assert "installed from" in await claude.run("claude", "status", program=codexctl)
    if before == STRANGE:
        assert "stub: hello" in await claude.print("/codex-ask hello", program="claude")
        both = await claude.print("/codex-ask once", program=claude.launcher)
        assert both.out.count("stub: once") == 1, "the plugin of the launcher takes the place of the installed one"
    assert (await claude.run("claude", "uninstall", program=codexctl)).code == 0
    assert (settings.read_bytes() if settings.exists() else None) == before
    assert "was not installed" in await claude.run("claude", "uninstall", program=codexctl)
