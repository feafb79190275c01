"""codexctl statusline: a segment for Claude Code's status line. Without options `__main__` does it, without click."""

from __future__ import annotations

import sys

import click

from codexctl.session import Session, verb


@click.command("statusline")
@verb
def command(session: Session) -> None:
    """Print the state and profile of the session's Codex, for Claude Code's statusLine setting.

    Reads Claude Code's JSON on standard input. Prints nothing where the session has no Codex. Speaks to nobody but the
    service's small status files, because it runs after every message.
    """
    from codexctl.claude.status_line import segment
    from codexctl.output import put, put_json

    text = segment(session.paths, sys.stdin.buffer)
    if session.json:
        put_json({"text": text})
    elif text:
        put(text)
