"""Tests whose program is not on this machine."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def leave_out(reason: str) -> NoReturn:
    """Skip the test; where `CI` is `true`, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def needed_program(name: str, package: str) -> str:
    """The path of a program of a Debian package; the test is left out without it."""
    return shutil.which(name) or leave_out(f"no {name} here: apt-get install {package}")
