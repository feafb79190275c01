"""A program that sees other files than the rest of the machine does: mounts in a namespace of its own."""

from __future__ import annotations

import os
import subprocess

import pytest

# As root a mount namespace is enough; other users get one in a user namespace of their own.
_NAMESPACE = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--mount")


def mounting(script: str, *arguments: str) -> tuple[str, ...]:
    """The words to put before a program, so that the shell's `script` mounts with `arguments` ($1, …) before it runs.

    Where nothing can be mounted the test is skipped; under `CI` it fails.
    """
    shell = f'{script} && shift {len(arguments)} && exec "$@"'
    words = (*_NAMESPACE, "sh", "-c", shell, "sh", *arguments)
    try:
        tried = subprocess.run([*words, "true"], capture_output=True, text=True, timeout=20, check=False)
        reason = tried.stderr
    except FileNotFoundError as error:
        reason = str(error)
    if reason and not os.environ.get("CI"):
        pytest.skip(f"no mounts here: {reason}")
    assert not reason
    return words
