"""Threads and turns as Codex describes them, and what every message of its protocol has in common.

`msgspec.Raw` values are views that keep the whole received message in memory: decode them, do not keep them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from codex_supervisor.child.items import ThreadItem, decode_item

RequestId = int | str


class In(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Something that Codex sends."""


class Out(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Something that we send."""


class TurnError(In, frozen=True):
    """Why a turn failed, or why Codex tries again.

    `codex_error_info` is a word, or an object with one word as its key; `kind` and `http_status` read both.
    """

    message: str
    codex_error_info: str | dict[str, Any] | None = None
    additional_details: str | None = None

    @property
    def kind(self) -> str:
        """Codex's word for it, such as usageLimitExceeded, httpConnectionFailed or other; empty where it gives none."""
        info = self.codex_error_info
        return next(iter(info), "") if isinstance(info, dict) else info or ""

    @property
    def http_status(self) -> int | None:
        """The model provider's HTTP status, where there is one."""
        info = self.codex_error_info
        details = next(iter(info.values()), None) if isinstance(info, dict) else None
        status = details.get("httpStatusCode") if isinstance(details, dict) else None
        return status if isinstance(status, int) else None


class Turn(In, frozen=True):
    """One turn. `status` is inProgress, completed, interrupted or failed; the times are seconds since the epoch.

    `items` are not decoded: `turn/completed` repeats the final answer, which may be large and is known already.
    """

    id: str
    status: str
    items: list[msgspec.Raw] = []
    error: TurnError | None = None
    started_at: int | None = None
    completed_at: int | None = None
    duration_ms: int | None = None

    def decode_items(self) -> list[ThreadItem]:
        """Decode the items that came along."""
        return [decode_item(raw) for raw in self.items]


class ThreadStatus(In, frozen=True):
    """`type` is notLoaded, idle, active or systemError; flags are waitingOnApproval and waitingOnUserInput."""

    type: str
    active_flags: list[str] = []


class Thread(In, frozen=True):
    """One conversation. `turns` is empty unless it was asked for; `path` is the rollout file."""

    id: str
    status: ThreadStatus
    cwd: str = ""
    path: str | None = None
    cli_version: str = ""
    turns: list[Turn] = []
