#!/usr/bin/env python3
"""Run a command where no network but loopback exists: `loopback_only.py COMMAND [ARGUMENT…]`.

Tests start the real Codex; in here it cannot talk to anybody by mistake. Works as root and as an ordinary user (in a
user namespace that maps the user to itself). Where namespaces are not to be had (macOS, locked-down kernels) it says
so and runs the command as it is.

Needs nothing but Python: no iproute2, no util-linux.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

# <linux/sched.h>
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
# <linux/sockios.h>, <linux/if.h>
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1
IFF_LOOPBACK = 0x8


def outside_interfaces() -> list[str]:
    """Names of the interfaces other than loopback that are up; empty means that nothing outside can be reached.

    Linux only. /sys/class/net is no source: it shows the namespace in which it was mounted.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        flags = {name: _flags(probe, name) for _, name in socket.if_nameindex()}
    return [name for name, flag in flags.items() if flag & IFF_UP and not flag & IFF_LOOPBACK]


def namespaces_possible() -> bool:
    """Whether this user of this machine can have a network namespace; tried in a process of its own."""
    if sys.platform != "linux":
        return False
    return subprocess.run([sys.executable, __file__, "--probe"], check=False, timeout=30).returncode == 0


def enter() -> None:
    """Put this process into a fresh network namespace with loopback up. Raises `OSError` where that is not possible."""
    if sys.platform != "linux":
        raise OSError("only Linux has network namespaces")
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        _unshare(CLONE_NEWNET)
    else:
        _unshare(CLONE_NEWUSER | CLONE_NEWNET)
        # user_namespaces(7): setgroups must be denied before an ordinary user may write gid_map.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _flags(control, "lo") | IFF_UP))


def _unshare(flags: int) -> None:
    # os.unshare came with Python 3.12.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _flags(probe: socket.socket, interface: str) -> int:
    import fcntl

    answer = fcntl.ioctl(probe, SIOCGIFFLAGS, struct.pack("16sh14x", interface.encode(), 0))
    flags: int = struct.unpack("16sh14x", answer)[1]
    return flags & 0xFFFF


def main() -> None:
    """Enter and execute, or with `--probe` only try to enter."""
    arguments = sys.argv[1:]
    if not arguments:
        sys.exit("usage: loopback_only.py COMMAND [ARGUMENT…]")
    try:
        enter()
    except OSError as error:
        if arguments == ["--probe"]:
            sys.exit(1)
        print(
            f"loopback_only: no network namespace here ({error}); the command runs with the network as it is. "
            "On Ubuntu: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
            file=sys.stderr,
        )
    if arguments != ["--probe"]:
        os.execvp(arguments[0], arguments)


if __name__ == "__main__":
    main()
