"""gRPC without Python's own TLS."""

from __future__ import annotations

import subprocess
import sys


def test_codexctl_loads_no_tls_and_leaves_it_to_whoever_wants_it() -> None:
    script = (
        "import sys, codexctl.client, codexctl.feed, codexctl.follow; "
        "assert 'asyncio' in sys.modules; "
        "assert 'ssl' not in sys.modules; "
        "import ssl; ssl.create_default_context()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
