"""What a command costs, on a machine that others share."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Mapping, Sequence


def least_cpu_s(command: Sequence[str], *, environment: Mapping[str, str], stdin: bytes = b"", runs: int = 5) -> float:
    """The least CPU time of several runs, in seconds, with that of the programs that it started and waited for.

    A command that waits for nobody takes as long on an idle machine; elsewhere the clock on the wall tells of others.
    """
    spent = []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, input=stdin, env=environment, capture_output=True, check=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(spent)
