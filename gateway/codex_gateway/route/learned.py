"""What the gateway has learned about endpoints from their answers: facts with their evidence and an expiry. Pure.

A fact expires, so that an endpoint which has become better is tried again. The store keeps them between starts; times
are seconds since 1970 (`wall_s`), handed in.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterable

import msgspec

MAX_FACTS = 5000
MAX_FACTS_PER_ENDPOINT = 200
EVIDENCE_CHARACTERS = 500


class Topic(enum.StrEnum):
    """What a fact is about."""

    PARAMETER = "parameter"
    """A parameter is refused; the detail is its path in the body, `*` for any index."""
    TOOLS = "tools"
    """Tools are refused."""
    MAX_TOKENS_FIELD = "max-tokens-field"
    """The detail is what the limit of an answer must be called."""
    SYSTEM_MIDWAY = "system-midway"
    """System messages after the first are refused."""
    TOOL_KIND = "tool-kind"
    """A kind of tool is refused; the detail is its `type`."""
    BETA = "beta"
    """A value of the header `anthropic-beta` is refused; the detail is the value."""
    AUTH_HEADER = "auth-header"
    """The detail is how the key must be sent."""
    DIALECT = "dialect"
    """A dialect's path is missing; the detail is the dialect."""
    COUNT_TOKENS = "count-tokens"
    """The path `count_tokens` is missing."""
    MODELS = "models"
    """The path `models` is missing."""


OF_ENDPOINT = frozenset({Topic.AUTH_HEADER, Topic.DIALECT, Topic.COUNT_TOKENS, Topic.MODELS, Topic.BETA})
"""Topics that are the same for all models of an endpoint. OpenAI refuses `temperature` for some models alone, so the
others belong to a model."""


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One thing learned."""

    endpoint: str
    topic: Topic
    detail: str = ""
    model: str = ""
    """The model as it was sent; empty for a fact about all."""
    status: int = 0
    """HTTP status of the answer that taught it."""
    evidence: str = ""
    """What the answer said, cut; without secrets."""
    learned_at_s: float = 0.0
    expires_at_s: float = 0.0

    @property
    def key(self) -> tuple[str, Topic, str, str]:
        """What tells it from other facts."""
        return self.endpoint, self.topic, self.model, self.detail

    def sentence(self) -> str:
        """Say it."""
        of = f" (model {self.model})" if self.model else ""
        match self.topic:
            case Topic.PARAMETER:
                return f"refuses the parameter {self.detail}{of}"
            case Topic.TOOLS:
                return f"refuses tools{of}"
            case Topic.MAX_TOKENS_FIELD:
                return f"wants {self.detail}{of}"
            case Topic.SYSTEM_MIDWAY:
                return f"refuses system messages after the first{of}"
            case Topic.TOOL_KIND:
                return f"refuses tools of type {self.detail}{of}"
            case Topic.BETA:
                return f"refuses the beta {self.detail}"
            case Topic.AUTH_HEADER:
                return f"wants the key as {self.detail}"
            case Topic.DIALECT:
                return f"has no path for the dialect {self.detail}"
            case Topic.COUNT_TOKENS:
                return "has no count_tokens"
            case Topic.MODELS:
                return "has no list of models"


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known now about an endpoint and a model."""

    parameters: tuple[str, ...] = ()
    """Paths of refused parameters."""
    tools_refused: bool = False
    max_tokens_field: str = ""
    system_midway_refused: bool = False
    tool_kinds_refused: frozenset[str] = frozenset()
    betas_refused: frozenset[str] = frozenset()
    auth_header: str = ""
    dialects_missing: frozenset[str] = frozenset()
    count_tokens_missing: bool = False
    models_missing: bool = False
    used: tuple[Fact, ...] = ()
    """The facts behind it, for the records."""


NOTHING = Known()


class Learned:
    """All facts. Bounded: past the bound the oldest are forgotten."""

    def __init__(self, facts: Iterable[Fact] = ()) -> None:
        self._facts: dict[str, OrderedDict[tuple[str, Topic, str, str], Fact]] = {}
        self._known: dict[tuple[str, str], Known] = {}
        self._total = 0
        for fact in sorted(facts, key=lambda fact: fact.learned_at_s):
            self.add(fact)

    def __repr__(self) -> str:
        return f"Learned({self._total} facts)"

    def __len__(self) -> int:
        return self._total

    def add(self, fact: Fact) -> bool:
        """Learn it, or renew it. Says whether it was new."""
        facts = self._facts.setdefault(fact.endpoint, OrderedDict())
        new = fact.key not in facts
        if fact.topic is Topic.MAX_TOKENS_FIELD or fact.topic is Topic.AUTH_HEADER:
            # There can be only one.
            for other in [one for one in facts.values() if (one.topic, one.model) == (fact.topic, fact.model)]:
                self._drop(other)
        elif not new:
            self._drop(facts[fact.key])
        facts = self._facts.setdefault(fact.endpoint, OrderedDict())
        facts[fact.key] = fact
        self._total += 1
        if len(facts) > MAX_FACTS_PER_ENDPOINT:
            self._drop(next(iter(facts.values())))
        elif self._total > MAX_FACTS:
            self._drop(min((next(iter(one.values())) for one in self._facts.values()), key=lambda f: f.learned_at_s))
        self._known.clear()
        return new

    def known(self, endpoint: str, model: str, wall_s: float) -> Known:
        """What is known now about an endpoint and a model."""
        if endpoint not in self._facts:
            return NOTHING
        found = self._known.get((endpoint, model))
        if found is not None and all(fact.expires_at_s > wall_s for fact in found.used):
            return found
        if len(self._known) > MAX_FACTS:
            self._known.clear()
        found = _known(
            [
                fact
                for fact in self._facts[endpoint].values()
                if fact.model in ("", model) and fact.expires_at_s > wall_s
            ]
        )
        self._known[endpoint, model] = found
        return found

    def all(self, wall_s: float) -> list[Fact]:
        """All that holds now, the newest first."""
        facts = [fact for one in self._facts.values() for fact in one.values() if fact.expires_at_s > wall_s]
        return sorted(facts, key=lambda fact: (-fact.learned_at_s, fact.key))

    def forget(self, endpoint: str = "", topic: Topic | None = None, detail: str = "", model: str = "") -> list[Fact]:
        """Forget the facts that fit all that is given, and return them; without anything, all."""
        gone = [
            fact
            for one in self._facts.values()
            for fact in one.values()
            if (not endpoint or fact.endpoint == endpoint)
            and (topic is None or fact.topic is topic)
            and (not detail or fact.detail == detail)
            and (not model or fact.model == model)
        ]
        for fact in gone:
            self._drop(fact)
        self._known.clear()
        return gone

    def expire(self, wall_s: float) -> list[Fact]:
        """Forget what has expired, and return it."""
        gone = [fact for one in self._facts.values() for fact in one.values() if fact.expires_at_s <= wall_s]
        for fact in gone:
            self._drop(fact)
        self._known.clear()
        return gone

    def _drop(self, fact: Fact) -> None:
        facts = self._facts.get(fact.endpoint, OrderedDict())
        if facts.pop(fact.key, None) is not None:
            self._total -= 1
        if not facts:
            self._facts.pop(fact.endpoint, None)


def _known(facts: list[Fact]) -> Known:
    def details(topic: Topic) -> list[str]:
        return [fact.detail for fact in facts if fact.topic is topic]

    def has(topic: Topic) -> bool:
        return any(fact.topic is topic for fact in facts)

    return Known(
        parameters=tuple(details(Topic.PARAMETER)),
        tools_refused=has(Topic.TOOLS),
        max_tokens_field=next(iter(details(Topic.MAX_TOKENS_FIELD)), ""),
        system_midway_refused=has(Topic.SYSTEM_MIDWAY),
        tool_kinds_refused=frozenset(details(Topic.TOOL_KIND)),
        betas_refused=frozenset(details(Topic.BETA)),
        auth_header=next(iter(details(Topic.AUTH_HEADER)), ""),
        dialects_missing=frozenset(details(Topic.DIALECT)),
        count_tokens_missing=has(Topic.COUNT_TOKENS),
        models_missing=has(Topic.MODELS),
        used=tuple(facts),
    )
