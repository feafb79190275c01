"""Tells the service which Claude Code process shows which session, and finds that process's instance.

An instance belongs to the process, so whoever was started by Claude Code (hooks, MCP servers) names its parent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from codex_control.errors import CodexError

from codexctl.claude.hook_input import HookInput
from codexctl.instance_ref import Named, git_root, resolve_instance, working_directory
from codexctl.output import say_error
from codexctl.session import Session

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

# The hooks of SessionStart hold the first request up, those of SessionEnd share 1.5 s.
_BIND_LIMIT_S = 5.0
_END_LIMIT_S = 0.25


def claude_pid(environ: Mapping[str, str]) -> int:
    """The Claude Code process that started us.

    Its hooks (in exec form) and MCP servers are its own children (measured with 2.1.197 and 2.1.329). Newer ones also
    say it in CLAUDE_PID, which counts where something stands between, such as a sandbox.
    """
    said = environ.get("CLAUDE_PID", "")
    return int(said) if said.isascii() and said.isdigit() and 1 < int(said) < 2**31 else os.getppid()


def bound_instance(session: Session, session_id: str, *, source: str = "") -> Named:
    """The instance of the Claude Code session, made where there is none; the service is started where it does not run.

    `CODEX_INSTANCE` in Claude Code's environment names another one, as everywhere.
    """
    if session.environ.get("CODEX_INSTANCE"):
        return resolve_instance(None, session.environ)
    return Named("id", _bind(session, session_id, source, may_start=True))


def tell_service(session: Session, hook: HookInput, *, ends: bool) -> None:
    """Say that a session began or ended. Where the service does not run there is nobody to tell: no error."""
    from codexctl.service import is_running

    try:
        if not is_running(session.paths):
            return
        if ends:
            _end(session, hook)
        elif not session.environ.get("CODEX_INSTANCE"):
            _bind(session, hook.session_id, hook.source, may_start=False)
    except CodexError as error:
        say_error(error)


def _bind(session: Session, session_id: str, source: str, *, may_start: bool) -> str:
    client = session.client(start=may_start)

    from codex_control.v1.claude_pb2 import BindRequest, BindResponse, SessionSource
    from codex_control.v1.instances_pb2 import ClaudeProcess

    request = BindRequest(
        session_id=session_id,
        # Without its start time: it waits for us, so it is the one that has the pid.
        process=ClaudeProcess(pid=claude_pid(session.environ)),
        cwd=str(git_root(working_directory())),
        source=_known(SessionSource, f"SESSION_SOURCE_{source.upper()}"),
    )
    return client.call("Claude.Bind", request, BindResponse, timeout_s=_BIND_LIMIT_S).instance.id


def _end(session: Session, hook: HookInput) -> None:
    client = session.client(start=False)

    from codex_control.v1.claude_pb2 import EndRequest, EndResponse, SessionEndReason

    reason = _known(SessionEndReason, f"SESSION_END_REASON_{hook.reason.upper()}")
    request = EndRequest(session_id=hook.session_id, reason=reason)
    client.call("Claude.End", request, EndResponse, timeout_s=_END_LIMIT_S)


def _known(words: EnumTypeWrapper, name: str) -> str | None:
    # Claude Code may have words that are not known here.
    return name if name in words.keys() else None  # noqa: SIM118 # it is no mapping
