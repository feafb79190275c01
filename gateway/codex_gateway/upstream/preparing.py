"""What is sent to one endpoint for one request: the body in its dialect, and why it is as it is. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from codex_gateway.config.urls import COUNT_TOKENS, PATHS
from codex_gateway.dialect.convert import Conversion, ResponseStore, convert_request, strip_signatures
from codex_gateway.dialect.neutral import JsonObject
from codex_gateway.route.body_paths import overridden, without
from codex_gateway.route.choose import Candidate
from codex_gateway.route.endpoint_facts import facts_for
from codex_gateway.upstream.call import Call

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request for one endpoint."""

    conversion: Conversion
    sent: JsonObject
    """The body, decoded."""
    body: bytes
    path: str
    """Of `config.urls`."""
    native: bool
    """Client and endpoint speak the same dialect."""


def prepare(
    call: Call, candidate: Candidate, *, drop_signatures: bool = False, responses: ResponseStore | None = None
) -> Prepared:
    """Make the request for the endpoint. Raises `BadInput`."""
    facts = facts_for(candidate, drop_signatures=drop_signatures)
    conversion = convert_request(call.body, call.dialect, facts, responses=responses)
    known, overrides = candidate.known, candidate.endpoint.parameter_overrides
    sent = conversion.body
    if known.parameters:
        sent = without(sent, known.parameters)
    if known.tool_kinds_refused:
        sent = _without_tool_kinds(sent, known.tool_kinds_refused)
    if overrides:
        sent = overridden(sent, overrides)
    if drop_signatures:
        sent = strip_signatures(sent, candidate.dialect)
    return Prepared(
        conversion,
        sent,
        call.raw if sent is call.body else _encode(sent),
        COUNT_TOKENS if call.count_tokens else PATHS[candidate.dialect],
        candidate.dialect is call.dialect,
    )


def _without_tool_kinds(body: JsonObject, kinds: frozenset[str]) -> JsonObject:
    tools = body.get("tools")
    if not isinstance(tools, list):
        return body
    left = [tool for tool in tools if not isinstance(tool, dict) or str(tool.get("type")) not in kinds]
    if len(left) == len(tools):
        return body
    changed = {**body, "tools": left}
    if not left:
        # Without tools their choice is refused.
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            changed.pop(name, None)
    return changed
