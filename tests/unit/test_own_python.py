"""A process of our own finds what this one finds, and nothing of the directory that it happens to run in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# As the launchers of the Debian package: isolated, with a directory of modules that only they know.
LAUNCHER = """\
import subprocess, sys
sys.path[:0] = sys.argv[1:]
from codex_control.own_python import own_python, own_python_environment
subprocess.run(own_python("only_here"), env=own_python_environment(), check=True)
"""


def test_modules_are_found_as_here(tmp_path: Path) -> None:
    modules, checkout = tmp_path / "lib", tmp_path / "checkout"
    for folder, text in ((modules, "ours"), (checkout, "anybody's")):
        folder.mkdir()
        (folder / "only_here.py").write_text(f"import os\nprint({text!r}, 'PATH' in os.environ)")
    command = [sys.executable, "-I", "-c", LAUNCHER, str(modules)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "ours True\n"
