"""Commands run where there is no network but loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.codex_home import REPOSITORY
from tests.support.loopback_only import namespaces_possible

SCRIPT = REPOSITORY / "tests" / "support" / "loopback_only.py"
# Connects to itself, and asks for a way to an address that is nobody's (RFC 5737). A datagram's connect sends nothing.
LOOK = """
import errno, os, socket
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        print(errno.errorcode.get(outside.connect_ex(("192.0.2.1", 9))), os.geteuid(), os.getegid())
"""

pytestmark = pytest.mark.skipif(not namespaces_possible(), reason="no network namespaces here")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *command], capture_output=True, text=True, timeout=30)


def test_only_loopback_is_up() -> None:
    ran = run(sys.executable, "-c", LOOK)
    assert (ran.stdout, ran.stderr) == (f"ENETUNREACH {os.geteuid()} {os.getegid()}\n", "")


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/usr/bin/python3").exists(), reason="only root can become somebody else"
)
def test_an_ordinary_user_stays_who_they_are() -> None:
    # Somebody else may not be able to read our files.
    ran = subprocess.run(
        ["python3", "-c", SCRIPT.read_text(), "python3", "-c", LOOK],
        env={"PATH": "/usr/bin:/bin"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
        user=54321,
        group=54321,
        extra_groups=[],
    )
    assert (ran.stdout, ran.stderr) == ("ENETUNREACH 54321 54321\n", "")


def test_exit_code_passes_through() -> None:
    assert run("sh", "-c", "exit 7").returncode == 7
    assert run().returncode == 1


def test_says_so_where_there_are_no_namespaces() -> None:
    # A limit of 0 namespaces in a user namespace of our own is what a locked-down kernel looks like.
    script = "echo 0 > /proc/sys/user/max_net_namespaces; exec " + f"{sys.executable} {SCRIPT} echo ran"
    ran = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", script], capture_output=True, text=True, timeout=30
    )
    assert ran.stdout == "ran\n"
    assert "no network namespace here" in ran.stderr
