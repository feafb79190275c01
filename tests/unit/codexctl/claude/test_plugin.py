"""The copy of the plugin that Claude Code loads."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from codexctl.claude import plugin
from codexctl.claude.hook_input import HookInput
from codexctl.claude.mcp_server import CALL_LIMIT_S
from codexctl.claude.plugin import PLUGIN, TEMPLATE, ensure_plugin, own_program
from codexctl.commands.hook import EVENTS, command


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A codexctl beside a claude-codex."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "codexctl").write_text("")
    (folder / "codexctl").chmod(0o755)
    return folder / "codexctl"


def made(environ: dict[str, str], program: Path) -> Path:
    return ensure_plugin(environ, str(program.with_name("claude-codex")), "/nowhere/python")


def commands_of(root: Path) -> list[list[str]]:
    hooks = json.loads((root / PLUGIN / "hooks/hooks.json").read_text())["hooks"]
    found = [hook for groups in hooks.values() for group in groups for hook in group["hooks"]]
    servers = json.loads((root / PLUGIN / ".mcp.json").read_text())["mcpServers"]
    return [[one["command"], *one["args"]] for one in [*found, *servers.values()]]


def test_it_names_our_own_program_by_its_path(environ: dict[str, str], program: Path) -> None:
    root = made(environ, program)
    assert root == Path(environ["HOME"], ".local/share/codex-supervisor/claude")
    assert {line[0] for line in commands_of(root)} == {str(program)}
    assert {line[2] for line in commands_of(root) if line[1] == "hook"} == set(EVENTS)
    assert ensure_plugin(environ, "/nowhere/claude-codex", "/nowhere/python") == root
    assert commands_of(root)[0][:5] == ["/nowhere/python", "-P", "-m", "codexctl", "hook"]


def test_all_files_are_private_and_as_the_template_has_them(environ: dict[str, str], program: Path) -> None:
    root = made(environ, program)
    files = {path.relative_to(root) for path in root.rglob("*") if path.is_file()}
    assert files == {path.relative_to(TEMPLATE) for path in TEMPLATE.rglob("*") if path.is_file()} | {
        Path(".made-from")
    }
    for path in [root, *root.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_it_is_made_once(environ: dict[str, str], program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = made(environ, program)
    written = (root / PLUGIN / "commands/ask.md").stat().st_ino
    made(environ, program)
    assert (root / PLUGIN / "commands/ask.md").stat().st_ino == written


def test_a_copy_that_was_cut_short_is_made_again_and_old_files_go(environ: dict[str, str], program: Path) -> None:
    root = made(environ, program)
    (root / ".made-from").unlink()
    (root / PLUGIN / "hooks/hooks.json").write_text("{")
    (root / PLUGIN / "commands/gone.md").write_text("of an older version")
    made(environ, program)
    assert commands_of(root)
    assert not (root / PLUGIN / "commands/gone.md").exists()


def test_without_the_extra_there_is_no_server(
    environ: dict[str, str], program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = made(environ, program)
    assert (root / PLUGIN / ".mcp.json").exists()
    monkeypatch.setattr(plugin, "_has_mcp", lambda: False)
    made(environ, program)
    assert not (root / PLUGIN / ".mcp.json").exists()


def test_program_beside_python_is_found(tmp_path: Path, program: Path) -> None:
    assert own_program("/nowhere/x", str(program.with_name("python"))) == (str(program),)
    link = tmp_path / "link"
    link.symlink_to(program.parent)
    assert own_program(str(link / "claude-codex"), "/nowhere/python") == (str(link / "codexctl"),)


def test_our_limits_end_before_those_of_claude_code() -> None:
    hooks = json.loads((TEMPLATE / PLUGIN / "hooks/hooks.json").read_text())["hooks"]
    limits = [(group["hooks"][0]["timeout"], group["hooks"][0]["args"]) for event in hooks.values() for group in event]
    for timeout_s, arguments in limits:
        if "--limit" in arguments:
            limit_s = float(arguments[arguments.index("--limit") + 1].rstrip("s"))
            assert 10 <= timeout_s - limit_s <= 60
    server = json.loads((TEMPLATE / PLUGIN / ".mcp.json").read_text())["mcpServers"]["codex"]
    assert server["timeout"] / 1000 - CALL_LIMIT_S >= 60
    assert {option.name for option in command.params} == {"event", "limit"}
    assert HookInput(session_id="s").command_args == ""
