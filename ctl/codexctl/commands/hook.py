"""codexctl hook: what the plugin's hooks run inside Claude Code; not for people."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from codexctl.session import DURATION, Session, unattended_session

if TYPE_CHECKING:
    from codexctl.claude.hook_input import HookInput

EVENTS = ("expand", "session-start", "session-end", "stop")
# Claude Code repeats the question below the answer; a longer one would push the answer out of sight.
_MOST_REPEATED_LINES = 4
_MOST_REPEATED_LETTERS = 400


@click.command("hook")
@click.argument("event", type=click.Choice(EVENTS))
@click.option("--limit", type=DURATION, default="570s", show_default=True, help="Longest wait for an answer of Codex.")
def command(event: str, limit: float) -> None:
    """Answer a hook of Claude Code: its JSON on standard input, the decision as JSON on standard output.

    For the plugin, not for people. Free text never reaches a shell. Whatever goes wrong, Claude Code goes on: the exit
    code is 0.
    """
    import time

    began_s, session = time.monotonic(), unattended_session()
    from codex_control.errors import CodexError

    from codexctl.claude.hook_input import read_hook_input

    try:
        hook = read_hook_input(sys.stdin.buffer)
    except CodexError as error:
        from codexctl.output import say_error

        say_error(error)
        return
    _enter(hook.cwd)
    match event:
        case "expand":
            _expand(session, hook, limit, began_s)
        case "stop":
            from codexctl.claude.gate import gate_decision

            _put(gate_decision(session, hook, limit, began_s))
        case _:
            from codexctl.claude.lease import tell_service

            tell_service(session, hook, ends=event == "session-end")
            if event == "session-start":
                _note_start(session, hook)
                _renew_plugin(session)
    session.close()


def _note_start(session: Session, hook: HookInput) -> None:
    from codexctl.claude.gate_settings import gate_file

    # Whoever has no gate pays for a look at one file.
    if gate_file(session.paths).exists():
        from pathlib import Path

        from codexctl.claude.gate_changes import note_start

        note_start(session.paths, hook.session_id, Path.cwd())


def _renew_plugin(session: Session) -> None:
    """Bring the installed plugin up to date after an upgrade; claude-codex does so itself before it starts."""
    from codex_control.errors import CodexError

    from codexctl.claude.plugin import PLUGIN, ensure_plugin, marketplace_dir

    if session.environ.get("CLAUDE_PLUGIN_ROOT") != str(marketplace_dir(session.environ) / PLUGIN):
        return  # it was loaded from elsewhere
    try:
        ensure_plugin(session.environ, sys.argv[0])
    except CodexError as error:
        from codexctl.output import say_error

        say_error(error)


def _expand(session: Session, hook: HookInput, limit_s: float, began_s: float) -> None:
    from codex_control.errors import CodexError

    from codexctl.claude.slash import USAGES

    family, _, name = hook.command_name.partition(":")
    if family != "codex" or name not in USAGES:
        return  # a skill, or a command of another plugin: Claude Code goes on with it
    try:
        reason = _reason(session, hook, name, limit_s, began_s)
    except CodexError as error:
        from codexctl.claude.answer_text import error_text

        reason = error_text(error)
    except Exception as error:  # what is blocked costs no model call, and is told
        reason = f"codexctl failed: {error!r}\n`codexctl doctor` in a terminal may say more."
    decision: dict[str, object] = {"decision": "block", "reason": reason}
    if len(hook.command_args) > _MOST_REPEATED_LETTERS or hook.command_args.count("\n") >= _MOST_REPEATED_LINES:
        decision["hookSpecificOutput"] = {"hookEventName": "UserPromptExpansion", "suppressOriginalPrompt": True}
    _put(decision)


def _reason(session: Session, hook: HookInput, name: str, limit_s: float, began_s: float) -> str:
    from codexctl.claude.bridge import Bridge
    from codexctl.claude.lease import bound_instance
    from codexctl.claude.slash import parse

    command = parse(name, hook.command_args)
    return Bridge(session, lambda: bound_instance(session, hook.session_id), limit_s, began_s).perform(command)


def _put(decision: dict[str, object] | None) -> None:
    from codexctl.output import put_json

    if decision is not None:
        put_json(decision)


def _enter(directory: str) -> None:
    """A new instance works where the session does."""
    import os

    if directory:
        try:
            os.chdir(directory)
        except OSError:
            return  # it was deleted; we stay where Claude Code started us
