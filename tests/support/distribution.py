"""What is built for people to install, from this tree and without a network: `make test` has put the build tools into
build/tools and the dependencies, as wheels, into build/wheels.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from codex_control import __version__

from tests.support.codex_home import REPOSITORY
from tests.support.missing import leave_out

TOOLS_PYTHON = REPOSITORY / "build/tools/bin/python"
WHEELS = REPOSITORY / "build/wheels"
TIMEOUT_S = 100


def run(*argv: str | Path, cwd: Path | None = None, **environ: str) -> str:
    """Run a program with hardly any environment and return what it printed."""
    ended = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8", **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert ended.returncode == 0, f"{argv}: {ended.stdout}{ended.stderr}"
    return ended.stdout


def needed(path: Path | str) -> None:
    """Without `path` the test cannot be run; in CI that is a failure."""
    if Path(path).exists() or shutil.which(str(path)):
        return
    leave_out(f"{path} is not there: make test makes what it can")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source archive, and the wheel that was built from it."""
    needed(TOOLS_PYTHON)
    folder = tmp_path_factory.mktemp("dist")
    run(TOOLS_PYTHON, "-m", "build", "--no-isolation", "--outdir", folder, REPOSITORY)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """The wheel."""
    return dist / f"codex_supervisor-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def archive(dist: Path) -> Path:
    """The source archive."""
    return dist / f"codex_supervisor-{__version__}.tar.gz"
