"""Which endpoints may serve a request, in which order, and why the others may not. Pure.

1. Filters: enabled, not tried yet, the client's kind, a dialect that it has (its own, or one to convert to), tags,
   models, breaker, keys.
2. Order: the conversation's own endpoint first, while it passes the filters; then endpoints without refused tools,
   where the request has tools; then those whose tags the request bears before those without any tags; then `priority`;
   then those that speak the client's dialect before those that need a conversion; then by chance, in proportion to
   `weight`.

A person's `priority` comes before the dialect, since it was written on purpose; among equals an endpoint that needs no
conversion loses nothing on the way.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from codex_gateway.config.endpoint import ClientKind, Endpoint
from codex_gateway.dialect.neutral import Dialect
from codex_gateway.route.affinity import Place
from codex_gateway.route.globs import matches, matches_any
from codex_gateway.route.learned import NOTHING, Known


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a request needs of an endpoint."""

    dialect: Dialect
    client: ClientKind
    model: str
    tags: frozenset[str] = frozenset()
    tools: bool = False
    """It has tools."""
    place: Place | None = None
    """Where its conversation went last."""
    tried: Collection[str] = ()
    """Endpoints that have failed for it already."""


class Barrier(enum.Enum):
    """Why an endpoint may not serve a request."""

    DISABLED = "disabled"
    TRIED = "tried already"
    CLIENT = "client"
    DIALECT = "dialect"
    TAGS = "tags"
    MODEL = "model"
    OPEN = "breaker"
    KEYS = "keys"


@dataclass(frozen=True)
class Excluded:
    """An endpoint that may not serve the request."""

    endpoint: str
    barrier: Barrier
    why: str
    """To follow the endpoint's name."""
    back_in_s: float = math.inf
    """When it may serve again by itself; infinite where waiting does not help."""

    def __str__(self) -> str:
        return f"{self.endpoint}: {self.why}"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An endpoint that may serve the request, and how."""

    endpoint: Endpoint
    dialect: Dialect
    """To be spoken with it."""
    model: str
    """To be asked for."""
    known: Known = NOTHING
    key: str = ""
    """Name of the key that the conversation used there last; empty for any."""
    moved: bool = False
    """The conversation was at another endpoint before: encrypted reasoning from there must go."""


@dataclass(frozen=True)
class Condition:
    """How an endpoint is right now: what its breaker and its keys say."""

    why_out: str = ""
    """Why it may get no request; empty where it may."""
    barrier: Barrier = Barrier.OPEN
    back_in_s: float = 0.0


WELL = Condition()


@dataclass(frozen=True)
class Choice:
    """The endpoints to ask, in order, and the others with their reasons."""

    candidates: tuple[Candidate, ...] = ()
    excluded: tuple[Excluded, ...] = field(default=())

    @property
    def retry_after_s(self) -> float | None:
        """Where there is no candidate: seconds until there may be one; None where waiting does not help."""
        soonest = min((one.back_in_s for one in self.excluded), default=math.inf)
        return None if self.candidates or math.isinf(soonest) else soonest

    def sentence(self, wanted: Wanted, most: int = 10) -> str:
        """Say why there is no candidate, for the client."""
        if not self.excluded:
            return "no endpoint is configured: add one to config.yaml (`codex-gateway config reference`)"
        shown = [str(one) for one in self.excluded[:most]]
        if len(self.excluded) > most:
            shown.append(f"and {len(self.excluded) - most} more")
        return f"no endpoint can serve the model {wanted.model[:200]!r} now ({'; '.join(shown)})"


def choose(
    endpoints: Iterable[Endpoint],
    wanted: Wanted,
    *,
    known: Callable[[str, str], Known] = lambda _endpoint, _model: NOTHING,
    condition: Callable[[str], Condition] = lambda _endpoint: WELL,
    uniform: Callable[[], float],
) -> Choice:
    """Return the candidates in order and the rest with reasons.

    `known(endpoint, model)` is what was learned, `condition(endpoint)` how it is; `uniform()` gives random numbers from
    0 to 1.
    """
    candidates: list[tuple[tuple[float, ...], Candidate]] = []
    excluded: list[Excluded] = []
    for endpoint in endpoints:
        found = _look(endpoint, wanted, known, condition)
        if isinstance(found, Excluded):
            excluded.append(found)
        else:
            candidates.append((_rank(found, wanted, uniform), found))
    candidates.sort(key=lambda one: one[0])
    return Choice(tuple(candidate for _, candidate in candidates), tuple(excluded))


def model_for(endpoint: Endpoint, model: str) -> str:
    """Return the model that the endpoint is asked for: after the first rewrite that fits."""
    for rewrite in endpoint.model_rewrite:
        if matches(rewrite.source_pattern, model):
            return rewrite.target_model
    return model


def dialect_for(endpoint: Endpoint, dialect: Dialect, missing: Collection[str]) -> Dialect | None:
    """Return the dialect to speak with the endpoint: the client's own, else its first; None where all are missing."""
    there = [one for one in endpoint.dialects if one not in missing]
    if dialect in there:
        return dialect
    return there[0] if there else None


def _look(
    endpoint: Endpoint,
    wanted: Wanted,
    known: Callable[[str, str], Known],
    condition: Callable[[str], Condition],
) -> Candidate | Excluded:
    name = endpoint.name
    if not endpoint.enabled:
        return Excluded(name, Barrier.DISABLED, "it is disabled")
    if name in wanted.tried:
        return Excluded(name, Barrier.TRIED, "it has failed for this request")
    if ClientKind.ANY not in endpoint.clients and wanted.client not in endpoint.clients:
        return Excluded(name, Barrier.CLIENT, f"it serves {_listed(endpoint.clients)} alone")
    if endpoint.tags and wanted.tags.isdisjoint(endpoint.tags):
        has = f"the request has {_listed(sorted(wanted.tags))}" if wanted.tags else "the request has none"
        return Excluded(name, Barrier.TAGS, f"it wants a tag of {_listed(endpoint.tags)}, and {has}")
    model = model_for(endpoint, wanted.model)
    if endpoint.models and not (matches_any(endpoint.models, wanted.model) or matches_any(endpoint.models, model)):
        return Excluded(name, Barrier.MODEL, f"it has only the models {_listed(endpoint.models)}")
    facts = known(name, model)
    dialect = dialect_for(endpoint, wanted.dialect, facts.dialects_missing)
    if dialect is None:
        return Excluded(name, Barrier.DIALECT, f"its path for {_listed(endpoint.dialects)} was missing when last asked")
    now = condition(name)
    if now.why_out:
        return Excluded(name, now.barrier, now.why_out, now.back_in_s)
    at_home = wanted.place is not None and wanted.place.endpoint == name
    return Candidate(
        endpoint=endpoint,
        dialect=dialect,
        model=model,
        known=facts,
        key=wanted.place.key if at_home and wanted.place is not None else "",
        moved=wanted.place is not None and not at_home,
    )


def _rank(candidate: Candidate, wanted: Wanted, uniform: Callable[[], float]) -> tuple[float, ...]:
    endpoint = candidate.endpoint
    # Sorting by -log(u)/w picks in proportion to the weights, for the whole order at once (Efraimidis and Spirakis).
    chance = -math.log(max(uniform(), 1e-300)) / endpoint.weight
    return (
        not (wanted.place is not None and wanted.place.endpoint == endpoint.name),
        wanted.tools and candidate.known.tools_refused,
        not endpoint.tags,
        endpoint.priority,
        candidate.dialect is not wanted.dialect,
        chance,
    )


def _listed(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(str(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
