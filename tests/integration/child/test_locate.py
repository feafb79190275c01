"""Which Codex is taken, and what is said where none can be."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from codex_control.errors import CodexUnusable
from codex_supervisor.child import locate
from codex_supervisor.child.locate import CodexBinary, locate_codex

ENVIRON = {"PATH": os.defpath, "HOME": "/nonexistent"}


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "codex_cli_bin", None)


async def test_the_configured_one_comes_first(tmp_path: Path) -> None:
    chosen = script(tmp_path / "mine", "echo codex-cli 0.200.1")
    script(tmp_path / "codex", "echo codex-cli 0.300.0")
    environ = {"PATH": str(tmp_path)}
    assert await locate_codex(str(chosen), environ) == CodexBinary(str(chosen), "0.200.1", "config")
    assert (await locate_codex("mine", environ)).path == str(chosen)
    assert (await locate_codex("~/mine", {"HOME": str(tmp_path)})).path == str(chosen)


async def test_then_the_one_on_path(tmp_path: Path) -> None:
    found = script(tmp_path / "codex", "echo codex-cli 0.300.0-alpha.1")
    assert await locate_codex("", {"PATH": str(tmp_path)}) == CodexBinary(str(found), "0.300.0-alpha.1", "path")


async def test_then_the_wheel(real_codex: Path) -> None:
    found = await locate_codex("", {"PATH": "/nonexistent"})
    assert (found.path, found.source) == (str(real_codex), "wheel")
    assert locate.is_new_enough(found.version)


async def test_the_wheel_replaces_an_unusable_one_on_path(tmp_path: Path, real_codex: Path) -> None:
    script(tmp_path / "codex", "echo codex-cli 0.1.0")
    assert (await locate_codex("", {"PATH": str(tmp_path)})).path == str(real_codex)


@pytest.mark.usefixtures("no_wheel")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo codex-cli 0.153.0", r"Codex 0\.153\.0 at .* is too old: 0\.154\.0 is the oldest.*npm install"),
        ("echo something else", "holds no version: 'something else"),
        ("exit 3", "holds no version: ''"),
        ("yes", "holds no version"),  # it would never end
    ],
)
async def test_an_unusable_one_on_path(tmp_path: Path, body: str, said: str) -> None:
    script(tmp_path / "codex", body)
    with pytest.raises(CodexUnusable, match=said):
        await locate_codex("", {"PATH": f"{tmp_path}:{os.defpath}"})


async def test_one_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "VERSION_TIMEOUT_S", 0.05)
    # It holds the pipe open in a process of its own, as a wrapper would.
    silent = script(tmp_path / "codex", "sleep 300 & wait")
    with pytest.raises(CodexUnusable, match=r"does not answer: `--version` was not answered within 0\.05 s"):
        await locate_codex(str(silent), ENVIRON)


@pytest.mark.usefixtures("no_wheel")
async def test_none_at_all() -> None:
    with pytest.raises(CodexUnusable, match=r"Codex was not found.*Install it with `npm install -g @openai/codex`"):
        await locate_codex("", {"PATH": "/nonexistent"})


@pytest.mark.parametrize("configured", ["/nonexistent/codex", "no-such-codex"])
async def test_a_configured_one_that_is_missing(configured: str) -> None:
    with pytest.raises(CodexUnusable, match=r"configured Codex .* was not found.*Correct `codex\.binary`"):
        await locate_codex(configured, ENVIRON)


async def test_one_that_is_not_executable(tmp_path: Path) -> None:
    plain = tmp_path / "codex"
    plain.write_text("#!/bin/sh\n")
    with pytest.raises(CodexUnusable, match=r"not executable for us.*chmod \+x"):
        await locate_codex(str(plain), ENVIRON)


async def test_one_of_another_machine(tmp_path: Path) -> None:
    foreign = tmp_path / "codex"
    foreign.write_bytes(b"\x7fELF not for this machine")
    foreign.chmod(0o755)
    with pytest.raises(CodexUnusable, match="cannot be run"):
        await locate_codex(str(foreign), ENVIRON)
