"""What the admin pages take and give. Light to import: the commands read it too.

Times are nanoseconds since 1970, durations seconds. No key, no prompt and no query of an endpoint's URL is in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from codex_gateway.config.endpoint import Endpoint
from codex_gateway.route.learned import Fact, Topic
from codex_gateway.upstream.trial_result import TrialResult


class AboutGateway(msgspec.Struct, frozen=True, kw_only=True):
    """The process itself."""

    version: str
    pid: int
    url: str
    started_ns: int
    draining: bool
    config_file: str
    config_error: str
    """Why the configuration file is not in force; empty where it is."""


class LastError(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that failed."""

    at_ns: int
    status: int
    outcome: str
    reason: str
    model: str
    key: str


class KeyState(msgspec.Struct, frozen=True, kw_only=True):
    """A key, by its name."""

    name: str
    weight: int
    enabled: bool
    out_for_s: float = 0.0
    why: str = ""


class EndpointState(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint: what is configured, and how it is now."""

    name: str
    url: str
    """Without its query."""
    dialects: tuple[str, ...]
    priority: int
    weight: int
    tags: tuple[str, ...]
    clients: tuple[str, ...]
    models: tuple[str, ...]
    state: str
    """ready | probing | out | disabled; `enabled` where nobody knows more because no gateway runs."""
    why: str = ""
    back_in_s: float = 0.0
    keys: tuple[KeyState, ...] = ()
    facts: int = 0
    running: int = 0
    last_errors: tuple[LastError, ...] = ()
    """The newest first."""


class UnderWay(msgspec.Struct, frozen=True, kw_only=True):
    """A request that runs."""

    id: str
    age_s: float
    client: str
    token: str
    model: str
    endpoint: str
    attempts: int
    stream: bool
    first_byte_s: float | None
    bytes_out: int


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at a glance."""

    gateway: AboutGateway
    endpoints: tuple[EndpointState, ...]
    running: tuple[UnderWay, ...]


class ResetRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which endpoints to bring back; none named: all."""

    names: tuple[str, ...] = ()


class TrialRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which endpoint to try, and with which model."""

    name: str
    model: str = ""
    timeout_s: float = 60.0


class ForgetRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which facts to forget: those that fit all that is given; nothing given: all."""

    endpoint: str = ""
    topic: Topic | None = None
    detail: str = ""
    model: str = ""


class Trials(msgspec.Struct, frozen=True):
    """What came of trying an endpoint."""

    results: tuple[TrialResult, ...]


class Facts(msgspec.Struct, frozen=True):
    """Learned facts."""

    facts: tuple[Fact, ...]


class Names(msgspec.Struct, frozen=True):
    """Names of endpoints."""

    names: tuple[str, ...]


def state_of(endpoint: Endpoint, state: str, keys: Iterable[KeyState], **now: Any) -> EndpointState:
    """What is configured of an endpoint, with how it is: `state`, its keys, and the other fields in `now`."""
    return EndpointState(
        name=endpoint.name,
        url=shown_url(endpoint.url),
        dialects=tuple(endpoint.dialects),
        priority=endpoint.priority,
        weight=endpoint.weight,
        tags=endpoint.tags,
        clients=tuple(endpoint.clients),
        models=endpoint.models,
        state=state,
        keys=tuple(keys),
        **now,
    )


def shown_url(url: str) -> str:
    """An endpoint's URL as it may be shown: some have a key in their query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
