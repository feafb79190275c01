"""Another Python process with the modules that this one has.

`python -m` alone does not find them where a launcher puts their directory onto its own path (the Debian package), and
looks into the working directory first, which may be anybody's checkout.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping


def own_python(module: str) -> tuple[str, ...]:
    """The command that runs `module`, in the environment that `own_python_environment` makes."""
    return (sys.executable, "-P", "-m", module)


def own_python_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environ`, with our own module path."""
    return {**environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
