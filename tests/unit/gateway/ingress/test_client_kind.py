"""Which program asks."""

from __future__ import annotations

import pytest
from codex_gateway.config.endpoint import ClientKind
from codex_gateway.dialect.neutral import Dialect
from codex_gateway.ingress.client_kind import client_kind
from multidict import CIMultiDict

M, C, R = Dialect.MESSAGES, Dialect.CHAT, Dialect.RESPONSES
CLAUDE, CODEX, OTHER = ClientKind.CLAUDE_CODE, ClientKind.CODEX, ClientKind.OTHER


@pytest.mark.parametrize(
    ("headers", "dialect", "made_for", "kind"),
    [
        ({"user-agent": "claude-cli/2.1.197 (external, cli)"}, M, OTHER, CLAUDE),
        ({"x-claude-code-session-id": "a"}, M, CODEX, CLAUDE),
        ({"user-agent": "codex_exec/0.163.0"}, R, OTHER, CODEX),
        ({"originator": "codex_vscode"}, R, CLAUDE, CODEX),
        ({"originator": "mine", "session_id": "a"}, R, OTHER, CODEX),
        ({"user-agent": "OpenAI/Python 3"}, R, OTHER, OTHER),
        ({"session_id": "a"}, C, OTHER, OTHER),
        ({}, M, CLAUDE, CLAUDE),
        ({}, R, CLAUDE, OTHER),
        ({}, R, CODEX, CODEX),
        ({}, C, CODEX, OTHER),
    ],
)
def test_headers_tell_before_the_token(
    headers: dict[str, str], dialect: Dialect, made_for: ClientKind, kind: ClientKind
) -> None:
    assert client_kind(CIMultiDict(headers), dialect, made_for) is kind
