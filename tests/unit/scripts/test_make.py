"""What `make` says while it sets up, and where it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.codex_home import REPOSITORY

# Stands in for the Python of an environment: it has what is asked for, and its pip does as it is told.
PYTHON = """#!/bin/sh
case "$*" in
    *" pip "*) echo "pip: no such host" >&2; exit $PIP_ENDS_WITH;;
esac
"""


@pytest.mark.parametrize(
    ("goal", "variable", "said"),
    [(".venv/.ready", "PYTHON_BIN", "about a minute"), ("build/tools/.ready", "TOOLS_BIN", "a few seconds")],
)
@pytest.mark.parametrize("pip", [0, 1])
def test_what_takes_long_is_told_and_so_is_a_network_that_is_away(
    tmp_path: Path, goal: str, variable: str, said: str, pip: int
) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "constraints-build.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    shutil.copytree(REPOSITORY / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "proto").mkdir()
    (tmp_path / goal).parent.mkdir(parents=True)
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "-C", str(tmp_path), "--no-print-directory", goal, f"{variable}={python}"],
        env={"PATH": os.environ["PATH"], "PIP_ENDS_WITH": str(pip)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    (line,) = done.stdout.splitlines()
    assert line.startswith("installing the ")
    assert said in line
    assert ("They come from pypi.org: where the network is away" in done.stderr) is bool(pip)
    assert (done.returncode == 0, (tmp_path / goal).exists()) == (not pip, not pip)
