"""What a person reads who has the supervisor without the extra `gateway`."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from codex_gateway.extra import PACKAGES

from tests.support.codex_home import REPOSITORY

# The packages are here, so they are made impossible to import and to find.
_WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Hides(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hides())
from codex_gateway.__main__ import run
sys.exit(run({arguments!r}))
"""


def run_without(packages: tuple[str, ...], home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = _WITHOUT.format(packages=packages, arguments=arguments)
    return subprocess.run(
        [sys.executable, "-I", "-c", script], env={"HOME": str(home)}, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize("command", [("serve",), ("install",), ("install", "--dry-run")])
def test_one_sentence_says_how_to_get_it(tmp_path: Path, command: tuple[str, ...]) -> None:
    ended = run_without(PACKAGES, tmp_path, *command)
    assert ended.returncode == 9
    assert ended.stdout == ""
    sentence, step = ended.stderr.splitlines()
    assert sentence.startswith("codex-gateway: the gateway's packages are not installed: ")
    assert step.startswith("  next: run `pip install 'codex-supervisor[gateway]'`")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_each_of_its_packages_counts(tmp_path: Path, package: str) -> None:
    ended = run_without((package,), tmp_path, "install", "--dry-run")
    assert ended.returncode == 9
    assert f"{package} was not found" in ended.stderr


@pytest.mark.parametrize("command", [("--help",), ("version",), ("--version",)])
def test_help_and_version_need_none_of_it(tmp_path: Path, command: tuple[str, ...]) -> None:
    ended = run_without(PACKAGES, tmp_path, *command)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_extra_brings_them() -> None:
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        listed = tomllib.load(file)["project"]["optional-dependencies"]["gateway"]
    assert {name.partition(">")[0] for name in listed} == set(PACKAGES)
    # And no other package of ours is one that the supervisor has anyway.
    always = {name.partition(">")[0] for name in requires("codex-supervisor") or () if "extra ==" not in name}
    assert not always & set(PACKAGES)
