"""What the service loads: what stays in memory all day is what is used all day."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Each with a reason of its own to be loaded when it is wanted: a command line, a configuration file, a developer, and
# the first child, which takes longer to start than websockets to load.
NOT_AT_THE_START = (
    "click",
    "rich",
    "yaml",
    "tomllib",
    "difflib",
    "grpc_reflection.v1alpha.reflection",
    "aiohttp",
    "websockets",
)


def test_the_service_starts_without_what_it_seldom_needs() -> None:
    script = (
        "import sys, codex_supervisor.__main__, codex_supervisor.daemon; "
        f"print(*[name for name in {NOT_AT_THE_START!r} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert run.stdout.split() == []


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_threads_share_an_arena_and_the_start_is_out_of_the_collectors_sight() -> None:
    script = (
        "import gc, re, threading; from codex_supervisor import footprint; "
        "footprint.share_one_arena(); footprint.settle(); "
        "assert gc.get_freeze_count() > 1000; "
        "event = threading.Event(); "
        "threads = [threading.Thread(target=lambda: (bytearray(100_000), event.wait())) for _ in range(8)]; "
        "[thread.start() for thread in threads]; "
        # An arena of a thread is a reservation of 64 MiB, readable in part.
        "arenas = re.findall(r'-\\w+ ---p .*\\n', open('/proc/self/maps').read()); "
        "event.set(); print(len(arenas))"
    )
    with_one = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    without = subprocess.run(
        [sys.executable, "-c", script.replace("footprint.share_one_arena(); ", "")],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert int(with_one.stdout) < int(without.stdout)
