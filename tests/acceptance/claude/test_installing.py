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
