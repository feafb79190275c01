"""Finding the native binary behind what package managers put on PATH."""

from __future__ import annotations

from pathlib import Path

import pytest
from codex_control.errors import CodexUnusable
from codex_supervisor.child.locate import _platform_package, _target_triple, is_new_enough, native_binary

NODE_SCRIPT = "#!/usr/bin/env node\n// Unified entry point for the Codex CLI.\n"


def install(package: Path, *, native_in: Path | None) -> Path:
    """Lay npm's package out in `package`, its native binary in `native_in`, and return the script."""
    script = package / "bin" / "codex.js"
    script.parent.mkdir(parents=True)
    script.write_text(NODE_SCRIPT)
    if native_in is not None:
        native = native_in / "vendor" / _target_triple() / "bin" / "codex"
        native.parent.mkdir(parents=True)
        native.write_bytes(b"\x7fELF")
    return script


@pytest.mark.parametrize(
    "native_in",
    [
        f"lib/node_modules/@openai/codex/node_modules/{_platform_package()}",  # npm install -g
        f"lib/node_modules/{_platform_package()}",  # hoisted beside it
        "lib/node_modules/@openai/codex",  # the layout before platform packages
    ],
)
def test_npm_puts_a_link_on_path(tmp_path: Path, native_in: str) -> None:
    script = install(tmp_path / "lib/node_modules/@openai/codex", native_in=tmp_path / native_in)
    (tmp_path / "bin").mkdir()
    link = tmp_path / "bin" / "codex"
    link.symlink_to(script)
    assert native_binary(link) == (tmp_path / native_in / "vendor" / _target_triple() / "bin" / "codex").resolve()


def test_pnpm_puts_a_shell_script_on_path(tmp_path: Path) -> None:
    package = tmp_path / "global/5/node_modules/@openai/codex"
    install(package, native_in=package)
    shim = tmp_path / "codex"
    shim.write_text('#!/bin/sh\nexec node  "$basedir/global/5/node_modules/@openai/codex/bin/codex.js" "$@"\n')
    assert native_binary(shim) == (package / "vendor" / _target_triple() / "bin" / "codex").resolve()


def test_a_script_without_its_binary_says_how_to_get_it(tmp_path: Path) -> None:
    script = install(tmp_path / "node_modules/@openai/codex", native_in=None)
    with pytest.raises(CodexUnusable, match=r"lacks its native binary.*npm install"):
        native_binary(script)


@pytest.mark.parametrize("content", [b"\x7fELF\x02", b"\xcf\xfa\xed\xfe", b"#!/usr/bin/env python3\n", b""])
def test_everything_else_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "codex"
    path.write_bytes(content)
    assert native_binary(path) == path


@pytest.mark.parametrize(
    ("version", "enough"),
    [
        ("0.144.4", False),
        ("0.153.9", False),
        ("0.154.0", True),
        ("0.163.0", True),
        ("1.0.0", True),
        ("0.164.0-alpha.2", True),
        ("0.0.0", True),  # built from source
        ("", False),
    ],
)
def test_versions(version: str, enough: bool) -> None:
    assert is_new_enough(version) is enough
