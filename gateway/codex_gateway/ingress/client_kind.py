"""Which program asks, by its headers; never by the model's name.

Seen in the wild: Claude Code sends `User-Agent: claude-cli/…` and `X-Claude-Code-Session-Id`; Codex sends `originator:
codex_cli_rs` (or `codex_exec`, `codex_vscode`, the name of whoever runs its app-server) and `User-Agent: codex_…/…`.
"""

from __future__ import annotations

from collections.abc import Mapping

from codex_gateway.config.endpoint import ClientKind
from codex_gateway.dialect.neutral import Dialect

_CODEX_SESSION = ("session_id", "session-id", "thread-id", "conversation_id")


def client_kind(headers: Mapping[str, str], dialect: Dialect, token_client: ClientKind) -> ClientKind:
    """The kind of a request. `headers` look names up without regard to case.

    Where they say nothing, it is the kind that the token was made for; each program speaks one dialect.
    """
    agent = headers.get("User-Agent", "").lower()
    if agent.startswith("claude-cli/") or "X-Claude-Code-Session-Id" in headers:
        return ClientKind.CLAUDE_CODE
    if agent.startswith(("codex_", "codex-", "codex/")) or headers.get("originator", "").lower().startswith("codex"):
        return ClientKind.CODEX
    if dialect is Dialect.RESPONSES and any(name in headers for name in _CODEX_SESSION):
        return ClientKind.CODEX
    if token_client is ClientKind.CLAUDE_CODE and dialect is not Dialect.MESSAGES:
        return ClientKind.OTHER
    if token_client is ClientKind.CODEX and dialect is not Dialect.RESPONSES:
        return ClientKind.OTHER
    return token_client
