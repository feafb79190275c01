"""What people install: the wheel in an environment of its own, the Homebrew formula."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from codex_control import __version__
from codex_control.errors import Exit

from tests.support.codex_home import REPOSITORY
from tests.support.distribution import TIMEOUT_S, WHEELS, archive, dist, needed, run, wheel

__all__ = ["archive", "dist", "wheel"]

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and nothing but what it asks for, as pipx makes it."""
    needed(WHEELS)
    folder = tmp_path_factory.mktemp("pipx") / "venv"
    # Without a pip of its own, and uncompiled, since both take seconds.
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    run(*PIP, "--python", folder, "install", "--quiet", "--no-compile", "--no-index", "--find-links", WHEELS, wheel)
    return folder


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as opened:
        return set(opened.namelist())


def test_wheel_holds_every_module_the_api_and_its_stubs(wheel: Path) -> None:
    names = names_in(wheel)
    for folder in ("proto", "supervisor", "ctl", "gateway"):
        top = REPOSITORY / folder
        wanted = {
            str(file.relative_to(top))
            for file in top.rglob("*.*")
            if file.suffix in (".py", ".pyi", ".proto", ".typed", ".in")
        }
        assert len(wanted) > 1
        assert wanted <= names
    for proto in [name for name in names if name.endswith(".proto")]:
        for ending in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py"):
            assert proto.removesuffix(".proto") + ending in names
    assert "codex_supervisor/task/task.schema.json" in names


def test_wheel_holds_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in names_in(wheel)}
    ours = {"codex_control", "codex_supervisor", "codexctl", "codex_gateway"}
    assert tops == {*ours, f"codex_supervisor-{__version__}.dist-info"}


def test_source_archive_is_the_tree(archive: Path) -> None:
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"Makefile", "LICENSE", "README.md", "hatch_build.py", "constraints.txt", "buf.yaml"} <= names
    assert {"packaging/debian/build_deb.py", "tests/conftest.py", "proto/codex_control/v1/turns.proto"} <= names
    assert not [name for name in names if name.startswith(("build/", ".venv/", "dist/"))]


def test_installed_commands_work_and_nothing_is_missing(environment: Path) -> None:
    for command in ("codex-supervisor", "codexctl", "codex-gateway"):
        assert run(environment / "bin" / command, "--version").endswith(f"{__version__}\n")
        assert f"Usage: {command} " in run(environment / "bin" / command, "--help")
    assert run(*PIP, "--python", environment, "check") == "No broken requirements found.\n"


def test_without_its_extra_the_gateway_says_how_to_get_it(environment: Path, tmp_path: Path) -> None:
    for command in ("serve", "install"):
        ended = subprocess.run(
            [environment / "bin/codex-gateway", command],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert (ended.returncode, ended.stdout) == (Exit.CONFIG, "")
        what, fix = ended.stderr.splitlines()
        assert what == "codex-gateway: the gateway's packages are not installed: aiohttp was not found."
        assert "pip install 'codex-supervisor[gateway]'" in fix


@pytest.fixture(scope="module")
def environment_with_gateway(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and its extra `gateway`."""
    needed(WHEELS)
    folder = tmp_path_factory.mktemp("pipx-gateway") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    wanted = f"{wheel}[gateway]"
    run(*PIP, "--python", folder, "install", "--quiet", "--no-compile", "--no-index", "--find-links", WHEELS, wanted)
    return folder


def test_with_its_extra_every_module_of_the_gateway_can_be_imported(environment_with_gateway: Path) -> None:
    script = """
import importlib, pkgutil, codex_gateway
for module in pkgutil.walk_packages(codex_gateway.__path__, "codex_gateway."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
    run(environment_with_gateway / "bin/python", "-I", "-W", "error", "-c", script)


def test_with_its_extra_the_gateway_writes_a_unit_that_starts_it(
    environment_with_gateway: Path, tmp_path: Path
) -> None:
    if sys.platform == "linux":
        needed("systemctl")
    shown = run(environment_with_gateway / "bin/codex-gateway", "install", "--dry-run", HOME=str(tmp_path))
    assert str(environment_with_gateway / "bin/codex-gateway") in shown
    assert list(tmp_path.iterdir()) == []


def test_every_installed_module_can_be_imported(environment: Path) -> None:
    # The gateway, the demo model, tasks in PostgreSQL and the tools for Claude Code's model need extras.
    script = """
import importlib, pkgutil, codex_control, codex_supervisor, codexctl
EXTRAS = "codex_supervisor.demo.", "codex_supervisor.task.postgresql_", "codexctl.claude.mcp_"
for package in (codex_control, codex_supervisor, codexctl):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        extra = module.name.startswith(EXTRAS)
        if not module.name.endswith("__main__") and not extra:
            importlib.import_module(module.name)
"""
    run(environment / "bin/python", "-I", "-W", "error", "-c", script)


def test_installed_program_writes_a_unit_that_starts_it(environment: Path, tmp_path: Path) -> None:
    if sys.platform == "linux":
        needed("systemctl")
    shown = run(environment / "bin/codex-supervisor", "install", "--dry-run", HOME=str(tmp_path))
    assert str(environment / "bin/codex-supervisor") in shown
    assert list(tmp_path.iterdir()) == []


def test_homebrew_formula_names_the_archive_by_its_checksum(archive: Path, tmp_path: Path) -> None:
    formula = tmp_path / "codex-supervisor.rb"
    writer = REPOSITORY / "packaging/homebrew/write_formula.py"
    run(sys.executable, writer, archive, "--out", formula, "--url", "https://example.org/a.tar.gz")
    text = formula.read_text()
    assert 'url "https://example.org/a.tar.gz"' in text
    assert f'sha256 "{hashlib.sha256(archive.read_bytes()).hexdigest()}"' in text
    assert "@" not in text.replace("python@3.13", "")


def test_homebrew_formula_links_every_command() -> None:
    text = (REPOSITORY / "packaging/homebrew/codex-supervisor.rb").read_text()
    (linked,) = re.findall(r"bin\.install_symlink %w\[(.*?)\]", text)
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(linked.split()) == set(scripts)


def test_homebrew_formula_is_ruby() -> None:
    needed("ruby")
    assert run("ruby", "-c", REPOSITORY / "packaging/homebrew/codex-supervisor.rb") == "Syntax OK\n"
