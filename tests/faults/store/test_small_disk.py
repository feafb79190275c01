"""The disk gets full or read-only: see `small_disk.py` for what is checked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
# As root a mount namespace is enough; other users get one in a user namespace of their own.
NAMESPACE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
MOUNT_AND_RUN = 'mount -t tmpfs -o size=6m,mode=0700 none "$1" && shift && exec "$@"'


def run_on_small_disk(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*NAMESPACE, "sh", "-c", MOUNT_AND_RUN, "sh", str(directory), *command],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    try:
        reason = run_on_small_disk(tmp_path, "true").stderr
    except FileNotFoundError as error:
        reason = str(error)
    if reason and not os.environ.get("CI"):
        pytest.skip(f"no mounts here: {reason}")
    assert not reason
    return tmp_path


@pytest.mark.parametrize(
    "scenario",
    [
        "full_while_running",
        "a_small_outcome_beside_a_large_one",
        "full_while_archiving",
        "full_at_the_start",
        "read_only",
    ],
)
def test_on_a_small_disk(small_disk: Path, scenario: str) -> None:
    done = run_on_small_disk(
        small_disk, sys.executable, "-m", "tests.faults.store.small_disk", scenario, str(small_disk)
    )
    assert done.returncode == 0, done.stderr
