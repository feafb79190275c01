"""The same conversation goes to the same endpoint: what identifies a conversation, and where each one went.

Prompt caches and `encrypted_content` belong to one account of one endpoint. Pure: `now_s` (monotonic) is handed in.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codex_gateway.config.model import AffinityConfig
from codex_gateway.dialect.neutral import Dialect

HASHED_CHARACTERS = 4096
"""Of the system text and of the first message: two conversations that differ only behind that count as one, which costs
nothing but a place in the cache."""
MAX_ID_CHARACTERS = 200

# Claude Code: `X-Claude-Code-Session-Id`. Codex: `session_id` and `conversation_id`, `session-id` and `thread-id` since
# 0.160. Others: what people and SDKs use.
_HEADERS = (
    "x-claude-code-session-id",
    "session_id",
    "conversation_id",
    "session-id",
    "thread-id",
    "x-session-id",
    "x-conversation-id",
)
_SESSION = re.compile(r"session_([0-9a-fA-F-]{8,64})")


def conversation_id(dialect: Dialect, headers: Mapping[str, str], body: Mapping[str, Any], client: str = "") -> str:
    """Return what identifies the request's conversation; empty where nothing does. `headers` by lower-case names.

    In this order: a session header; a session in Claude Code's `metadata.user_id`; `prompt_cache_key`; a hash of the
    beginning. `previous_response_id` is not here: see `Affinity.response`. `client` (the token's name) keeps
    the conversations of different clients apart.
    """
    found = _by_header(headers) or _by_body(body) or _by_beginning(dialect, body)
    return f"{client}|{found}" if found else ""


def _by_header(headers: Mapping[str, str]) -> str:
    for name in _HEADERS:
        if value := headers.get(name):
            # Bytes that are no UTF-8 come as lone surrogates, which nothing can write.
            return f"id:{value[:MAX_ID_CHARACTERS].encode(errors='backslashreplace').decode()}"
    return ""


def _by_body(body: Mapping[str, Any]) -> str:
    metadata = body.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    if isinstance(user, str):
        # JSON as text since 2.1, `user_…_account__session_<uuid>` before. A bare user id names no conversation.
        if user.startswith("{"):
            try:
                inner = json.loads(user)
            except ValueError:
                inner = None
            if isinstance(inner, dict) and isinstance(session := inner.get("session_id"), str) and session:
                return f"id:{session[:MAX_ID_CHARACTERS]}"
        elif match := _SESSION.search(user):
            return f"id:{match[1]}"
    key = body.get("prompt_cache_key")
    return f"id:{key[:MAX_ID_CHARACTERS]}" if isinstance(key, str) and key else ""


def _by_beginning(dialect: Dialect, body: Mapping[str, Any]) -> str:
    """The system text, then the first user message, which every later request of the conversation repeats."""
    head: Any
    match dialect:
        case Dialect.MESSAGES:
            head, listed = body.get("system"), body.get("messages")
        case Dialect.CHAT:
            head, listed = None, body.get("messages")
        case Dialect.RESPONSES:
            head, listed = body.get("instructions"), body.get("input")
    first: list[Any] = []
    if isinstance(listed, list):
        for message in listed[:20]:
            first.append(message)
            if isinstance(message, dict) and message.get("role") == "user":
                break
    elif isinstance(listed, str):
        first.append({"role": "user", "content": listed})
    if not first:
        return ""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(str(body.get("model")).encode(errors="replace"))
    for part in (head, *first):
        digest.update(b"\0")
        digest.update(_words(part)[:HASHED_CHARACTERS].encode(errors="replace"))
    return f"hash:{digest.hexdigest()}"


def _words(part: Any) -> str:
    """The text of a message; `cache_control` moves from request to request, so it is left out."""
    match part:
        case str():
            return part
        case {"role": str(role), "content": content}:
            return f"{role}\1{_words(content)}"
        case list():
            return "\1".join(_words(one) for one in part[:50])
        case {"text": str(text)}:
            # Claude Code's first system block differs in each request.
            return "" if text.startswith("x-anthropic-billing-header") else text
        case {"type": str(kind)}:
            return kind
        case _:
            return ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a conversation went last."""

    endpoint: str
    key: str = ""
    """Name of the key."""


class Affinity:
    """Remembers where conversations, and single responses, went: the newest `conversations` of each, for `kept_for`."""

    def __init__(self, settings: AffinityConfig) -> None:
        self._settings = settings
        self._places: OrderedDict[str, tuple[float, Place]] = OrderedDict()
        self._responses: OrderedDict[str, tuple[float, Place]] = OrderedDict()

    def __repr__(self) -> str:
        return f"Affinity({len(self._places)} conversations, {len(self._responses)} responses)"

    def __len__(self) -> int:
        return len(self._places)

    def configure(self, settings: AffinityConfig) -> None:
        """Use other settings from now on."""
        self._settings = settings
        for places in (self._places, self._responses):
            self._shrink(places)

    def place(self, conversation: str, now_s: float) -> Place | None:
        """Where the conversation went last; None where it is new, too old, or affinity is off."""
        return self._find(self._places, conversation, now_s)

    def response(self, response_id: str, now_s: float) -> Place | None:
        """Where the response called `response_id` came from: what `previous_response_id` names."""
        return self._find(self._responses, response_id, now_s)

    def went(self, conversation: str, place: Place, now_s: float, response_id: str = "") -> None:
        """A request of the conversation was answered at `place`."""
        for places, name in ((self._places, conversation), (self._responses, response_id)):
            if name:
                places[name] = (now_s, place)
                places.move_to_end(name)
                self._shrink(places)

    def forget_endpoint(self, endpoint: str) -> None:
        """The endpoint is gone."""
        for places in (self._places, self._responses):
            for name in [name for name, (_, place) in places.items() if place.endpoint == endpoint]:
                del places[name]

    def _find(self, places: OrderedDict[str, tuple[float, Place]], name: str, now_s: float) -> Place | None:
        if not name or not self._settings.enabled:
            return None
        found = places.get(name)
        if found is None:
            return None
        if now_s - found[0] > self._settings.kept_for:
            del places[name]
            return None
        return found[1]

    def _shrink(self, places: OrderedDict[str, tuple[float, Place]]) -> None:
        while len(places) > self._settings.conversations:
            places.popitem(last=False)
