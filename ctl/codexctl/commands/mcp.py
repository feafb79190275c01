"""codexctl mcp: tools for the model of Claude Code, over the Model Context Protocol."""

from __future__ import annotations

import click

from codexctl.session import unattended_session


@click.command("mcp")
def command() -> None:
    """Serve Codex as tools on standard input and output; for the plugin, not for people.

    The tools: ask, review, status, task_submit, task_status, task_result, cancel.
    """
    try:
        import mcp.server.stdio  # noqa: F401 # whether it is there
    except ImportError as error:
        from codex_control.errors import BadConfig

        raise BadConfig(
            "the Python package mcp is not installed",
            why=str(error),
            next_step="install codex-supervisor with its extra: `pipx install 'codex-supervisor[mcp]'`",
        ) from error

    from codexctl.claude.mcp_server import serve

    serve(unattended_session())
