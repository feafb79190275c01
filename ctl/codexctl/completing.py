"""Completion of instance names, without grpc in the completing process and only where the service runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# A person waits with the finger on the Tab key.
_LIMIT_S = 1.0


def complete_instance(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 # click's signature
    """Ids that begin with what was typed; none where the service does not run or takes too long."""
    import json
    import os
    import subprocess
    import sys

    from click.shell_completion import CompletionItem

    try:
        shown = subprocess.run(
            [sys.executable, "-m", "codexctl", "status", "--json"],
            # With click's variable it would complete in its turn.
            env={name: value for name, value in os.environ.items() if name != "_CODEXCTL_COMPLETE"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LIMIT_S,
            check=True,
        )
        instances = json.loads(shown.stdout)["instances"]
        return [
            CompletionItem(one["id"], help=one["state"] or "") for one in instances if one["id"].startswith(incomplete)
        ]
    except (subprocess.SubprocessError, OSError, ValueError, KeyError, TypeError):
        return []
