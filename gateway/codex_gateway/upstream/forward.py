"""The attempts that one request may take: which endpoint next, when, and what was learned on the way.

Nothing here runs once the first byte has gone to the client: an answer is returned when there is one to pass on, and
its end is only told.

    refused parameter       taken out, learned, asked again at once: not counted, nobody's failure
    refused signature       thinking taken out, asked again at once, one time
    401 with a key whose way of sending nobody named      the other way, one time; learned where it works
    a key's trouble         the key is out; the next key, then the next endpoint
    429, 5xx, broken, slow  the same endpoint again after a wait (if few attempts were made), then the next
    any other 4xx           the client's
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec
from codex_control.errors import CodexError
from codex_control.service.clock import Clock

from codex_gateway.config.endpoint import AuthHeader, Endpoint, KeySource
from codex_gateway.dialect.conversion import OF_THE_REQUEST
from codex_gateway.dialect.convert import ResponseStore
from codex_gateway.dialect.neutral import Dialect, Error, ErrorKind
from codex_gateway.route.affinity import Place
from codex_gateway.route.budget import backoff_s, retry_after_in_text, retry_after_s
from codex_gateway.route.choose import Candidate, Choice, Wanted
from codex_gateway.route.endpoint_facts import auth_headers
from codex_gateway.route.keys import KeyTrouble, key_trouble
from codex_gateway.route.learned import Fact, Topic
from codex_gateway.route.refusals import Refusal, missing_path, read_refusal
from codex_gateway.route.routes import Leave, Routes
from codex_gateway.upstream.answer import Stream, Whole
from codex_gateway.upstream.attempt import Attempter, Blame, Bounds, Opened, Setback
from codex_gateway.upstream.call import Call, Unanswered
from codex_gateway.upstream.key_texts import SHORTEST, SHOWN, KeyTexts, without_key
from codex_gateway.upstream.pool import Pool
from codex_gateway.upstream.preparing import Prepared, prepare
from codex_gateway.upstream.target import Target, headers_for_client
from codex_gateway.upstream.trail import Attempt

_log = logging.getLogger(__name__)

KEY_LOOKED_FOR_AGAIN_S = 30.0
"""After a key was not where the configuration says."""
MAX_LEARNED = 12
"""Facts that one request may teach: a request has only so many parameters."""

_SIGNATURE = re.compile(
    rb"signature|thinking.{0,40}block|encrypted.{0,20}(content|reasoning)", re.IGNORECASE | re.DOTALL
)


@dataclass(slots=True)
class _Progress:
    """What has happened for one request so far."""

    attempts: int = 0
    """Those that count."""
    learned: int = 0
    on_endpoint: dict[str, int] = field(default_factory=dict)
    given_up: set[str] = field(default_factory=set)
    tried_keys: dict[str, set[str]] = field(default_factory=dict)
    drop_signatures: set[str] = field(default_factory=set)
    """Endpoints that refused a signature."""
    auth: dict[str, AuthHeader] = field(default_factory=dict)
    """Another way to send the key, to try."""
    last: Setback | None = None
    last_candidate: Candidate | None = None


class Forwarder:
    """Asks endpoints on behalf of clients. `told` hears of each attempt that ended, `on_learned` of each new fact."""

    def __init__(
        self,
        routes: Routes,
        pool: Pool,
        clock: Clock,
        uniform: Callable[[], float],
        *,
        told: Callable[[Call, Attempt], None] = lambda _call, _attempt: None,
        on_learned: Callable[[Fact], None] = lambda _fact: None,
        capture_bytes: int = 0,
        responses: Callable[[str], ResponseStore] | None = None,
    ) -> None:
        self.routes = routes
        self.key_texts = KeyTexts(clock)
        self.streams: set[Stream] = set()
        """Those that run now."""
        self._pool = pool
        self._clock = clock
        self._uniform = uniform
        self._attempter = Attempter(pool)
        self._told = told
        self._on_learned = on_learned
        self.capture_bytes = capture_bytes
        """Most bytes of each body and answer that go into the trail."""
        self._responses = responses
        self._targets: dict[str, Target] = {}

    def __repr__(self) -> str:
        return f"<Forwarder streams={len(self.streams)} {self.routes!r}>"

    def target(self, endpoint: Endpoint) -> Target:
        """Where the endpoint is. Worked out anew where its settings are."""
        target = self._targets.get(endpoint.name)
        if target is None or target.endpoint is not endpoint:
            target = self._targets[endpoint.name] = Target(endpoint)
        return target

    async def ask(self, call: Call) -> Whole | Stream:
        """Return an answer to pass on. Raises `Unanswered`; `BadInput` where the request itself is wrong."""
        routes, now = self.routes, self._clock.monotonic()
        routes.budget.request(now)
        progress = _Progress()
        place = routes.affinity.place(call.conversation, now)
        previous = call.body.get("previous_response_id")
        if isinstance(previous, str):
            place = routes.affinity.response(previous, now) or place
        tools = bool(call.body.get("tools"))
        while True:
            wanted = Wanted(
                dialect=call.dialect,
                client=call.kind,
                model=call.model,
                tags=call.tags,
                tools=tools,
                place=place,
                tried=progress.given_up,
            )
            choice = routes.choose(wanted, self._clock.monotonic(), self._wall_s())
            candidate = _first(choice, call)
            if candidate is None:
                raise self._nobody(call, wanted, choice, progress)
            answer = await self._ask_one(call, candidate, progress)
            if answer is not None:
                return answer

    def _wall_s(self) -> float:
        return self._clock.wall_ns() / 1e9

    async def _ask_one(self, call: Call, candidate: Candidate, progress: _Progress) -> Whole | Stream | None:
        """One attempt, with what must come before it; None where another is to be made. Raises `Unanswered`."""
        routes, name = self.routes, candidate.endpoint.name
        retries = routes.config.retries
        now = self._clock.monotonic()
        if progress.attempts and (progress.attempts >= retries.attempts or not routes.budget.take(now)):
            raise self._error_of(call, progress)
        tried = progress.tried_keys.setdefault(name, set())
        leave = routes.admit(candidate, now, tried)
        if leave is None:
            progress.given_up.add(name)
            return None
        progress.attempts += 1
        progress.on_endpoint[name] = progress.on_endpoint.get(name, 0) + 1
        settled = False
        try:
            key = await self._key(leave, tried, progress)
            if key is None:
                settled = True
                return None
            while True:
                signatures = name in progress.drop_signatures
                prepared = prepare(call, candidate, drop_signatures=signatures, responses=self._store(call))
                attempt = Attempt(
                    name,
                    leave.key,
                    candidate.dialect,
                    candidate.model,
                    self._clock.monotonic() - call.began_s,
                    learned=tuple([fact.sentence() for fact in candidate.known.used]),
                    sent=prepared.body[: self.capture_bytes],
                )
                auth = progress.auth.get(name) or self._ways(candidate, leave)[0]
                result = await self._make(call, candidate, prepared, auth, key, attempt)
                if not isinstance(result, Setback):
                    settled = True
                    return self._answered(call, candidate, leave, auth, attempt, result, progress)
                _hide(key, result, attempt)
                again = self._learn(candidate, prepared, leave, result, progress)
                self._note(call, attempt, result)
                if again is None:
                    break
                candidate = again
            settled = True
            await self._setback(call, candidate, leave, result, progress)
            return None
        finally:
            if not settled:
                routes.abandoned(leave, self._clock.monotonic())

    async def _key(self, leave: Leave, tried: set[str], progress: _Progress) -> str | None:
        """The key's text, empty where there is none to send; None where it cannot be fetched."""
        if leave.source is None:
            return ""
        text = self.key_texts.at_hand(leave.endpoint, leave.source)
        if text is not None:
            return text
        try:
            return await self.key_texts.fetch(leave.endpoint, leave.source)
        except CodexError as error:
            _log.warning("key_not_there", extra={"endpoint": leave.endpoint, "named": leave.key, "why": str(error)})
            tried.add(leave.key)
            self.routes.key_failed(leave, self._clock.monotonic(), KeyTrouble.REFUSED, KEY_LOOKED_FOR_AGAIN_S)
            message = f"the endpoint {leave.endpoint} cannot be asked: {error}"
            progress.last = Setback(Blame.ENDPOINT, Error(ErrorKind.UNAVAILABLE, message, status=502), 502)
            progress.last_candidate = None
            return None

    def _store(self, call: Call) -> ResponseStore | None:
        return None if self._responses is None else self._responses(call.entry.token)

    def _ways(self, candidate: Candidate, leave: Leave) -> tuple[AuthHeader, ...]:
        return auth_headers(candidate.endpoint, leave.source or _NO_KEY, candidate.known, candidate.dialect)

    async def _make(
        self, call: Call, candidate: Candidate, prepared: Prepared, auth: AuthHeader, key: str, attempt: Attempt
    ) -> Whole | Opened | Setback:
        bounds = Bounds(candidate.endpoint.timeouts, self.routes.config.limits.answer, self.capture_bytes)
        target = self.target(candidate.endpoint)
        began = self._clock.monotonic()
        call.entry.attempts.append(attempt)
        try:
            return await self._attempter.make(call, target, candidate, prepared, auth, key, attempt, bounds)
        except asyncio.CancelledError:
            attempt.outcome, attempt.reason = "client_gone", "nobody waits for it any more"
            self._told(call, attempt)
            raise
        finally:
            attempt.duration_s = self._clock.monotonic() - began

    # --- what comes of it ---------------------------------------------------------------------------------------------

    def _answered(
        self,
        call: Call,
        candidate: Candidate,
        leave: Leave,
        auth: AuthHeader,
        attempt: Attempt,
        result: Whole | Opened,
        progress: _Progress,
    ) -> Whole | Stream:
        routes, name, now = self.routes, leave.endpoint, self._clock.monotonic()
        routes.succeeded(leave, now)
        if call.conversation:
            response_id = result.answer_id if isinstance(result, Whole) else ""
            routes.affinity.went(call.conversation, Place(name, leave.key), now, response_id)
        if name in progress.auth:
            evidence = "401, and the other way was taken"
            self._teach(Refusal(topic=Topic.AUTH_HEADER, detail=auth.value, evidence=evidence), candidate, 401)
        if isinstance(result, Whole):
            attempt.outcome = "ok"
            self._told(call, attempt)
            return result
        timeouts = candidate.endpoint.timeouts
        origin = self.target(candidate.endpoint).origin
        began = self._pool.now()

        def done(stream: Stream) -> None:
            self.streams.discard(stream)
            attempt.duration_s += self._pool.now() - began
            attempt.outcome = "ok"
            told = stream.conversion.outcome
            if stream.failure is None and told is not None and told.error is not None:
                # The endpoint itself said that it failed.
                attempt.outcome, attempt.reason = told.error.kind.value, told.error.message[:500]
                if told.error.kind not in OF_THE_REQUEST:
                    routes.failed(leave, self._clock.monotonic(), told.error.message[:200])
            if stream.failure is not None:
                attempt.outcome, attempt.reason = stream.failure.kind.value, stream.failure.why
                if not stream.was_cut:
                    routes.failed(leave, self._clock.monotonic(), stream.failure.why)
            self._pool.give_back(origin, stream.connection)
            self._told(call, attempt)

        stream = Stream(
            result.connection,
            result.conversion,
            attempt=attempt,
            status=result.status,
            headers=result.headers,
            first=result.first,
            idle_s=timeouts.idle,
            keep_alive_s=routes.config.limits.keep_alive,
            deadline=began - attempt.duration_s + timeouts.total if timeouts.total else float("inf"),
            capture=self.capture_bytes - len(attempt.answer),
            done=done,
        )
        self.streams.add(stream)
        return stream

    def _learn(
        self,
        candidate: Candidate,
        prepared: Prepared,
        leave: Leave,
        setback: Setback,
        progress: _Progress,
    ) -> Candidate | None:
        """The candidate to ask again at once, with what was learned; None where there is nothing to learn."""
        name, status = leave.endpoint, setback.status
        if progress.learned >= MAX_LEARNED or not 400 <= status < 600 or status == 429 or setback.kind is not None:
            return None
        if status == 401:
            ways = self._ways(candidate, leave)
            if name in progress.auth or len(ways) < 2 or leave.source is None:
                return None
            progress.auth[name] = ways[1]
            return candidate
        if status == 400 and name not in progress.drop_signatures and _SIGNATURE.search(setback.body):
            progress.drop_signatures.add(name)
            return candidate
        if not self.routes.config.learned.enabled:
            return None
        refusal = read_refusal(status, setback.body, prepared.sent) or missing_path(status, setback.body, prepared.path)
        if refusal is None or not self._teach(refusal, candidate, status):
            return None
        progress.learned += 1
        known = self.routes.learned.known(name, candidate.model, self._wall_s())
        dialect = candidate.dialect
        match refusal.topic:
            case Topic.COUNT_TOKENS:
                return None
            case Topic.DIALECT:
                left = [one for one in candidate.endpoint.dialects if one not in known.dialects_missing]
                if not left:
                    return None
                dialect = left[0]
            case _:
                pass
        return replace(candidate, known=known, dialect=dialect)

    def _teach(self, refusal: Refusal, candidate: Candidate, status: int) -> bool:
        kept_for_s = self.routes.config.learned.kept_for
        fact = refusal.fact(candidate.endpoint.name, candidate.model, status, self._wall_s(), kept_for_s)
        new = self.routes.learned.add(fact)
        self._on_learned(fact)
        if new:
            _log.info("learned", extra={"endpoint": fact.endpoint, "fact": fact.sentence()})
        return new

    def _note(self, call: Call, attempt: Attempt, setback: Setback) -> None:
        attempt.outcome = setback.kind.value if setback.kind is not None else setback.error.kind.value
        attempt.reason = setback.error.message[:500]
        self._told(call, attempt)

    async def _setback(
        self, call: Call, candidate: Candidate, leave: Leave, setback: Setback, progress: _Progress
    ) -> None:
        """Count it, and wait or go elsewhere. Raises `Unanswered` where it is the client's."""
        routes, name, now = self.routes, leave.endpoint, self._clock.monotonic()
        progress.last, progress.last_candidate = setback, candidate
        trouble = key_trouble(setback.status, setback.body) if setback.status and setback.kind is None else None
        wait_s = self._wanted_wait(setback)
        if trouble is not None:
            self._key_trouble(leave, candidate, setback, trouble, wait_s, progress)
            return
        if setback.blame is Blame.REQUEST:
            routes.succeeded(leave, now)
            raise self._error_of(call, progress)
        if setback.status in (403, 404) and setback.kind is None:
            # The endpoint works, and has no such model or will not serve it here: another may.
            routes.succeeded(leave, now)
            progress.given_up.add(name)
            return
        why = setback.error.message[:200] or f"status {setback.status}"
        routes.failed(leave, now, why, wait_s)
        _log.warning("attempt_failed", extra={"endpoint": name, "attempt": progress.attempts, "why": why})
        retries = routes.config.retries
        tries = progress.on_endpoint[name]
        if tries >= retries.attempts_per_endpoint or (wait_s or 0.0) > retries.retry_after_max:
            progress.given_up.add(name)
        elif progress.attempts < retries.attempts:
            await asyncio.sleep(wait_s if wait_s is not None else backoff_s(tries, retries, self._uniform()))

    def _key_trouble(
        self,
        leave: Leave,
        candidate: Candidate,
        setback: Setback,
        trouble: KeyTrouble,
        wait_s: float | None,
        progress: _Progress,
    ) -> None:
        routes, name, now = self.routes, leave.endpoint, self._clock.monotonic()
        pool = candidate.endpoint.auth.pool()
        progress.tried_keys[name].add(leave.key)
        if trouble is KeyTrouble.REFUSED:
            self.key_texts.refused(name, leave.key)
        if trouble is KeyTrouble.RATE_LIMITED and wait_s is None and len(pool) <= 1:
            # It does not say for how long, and there is no other key: that says nothing about the next request.
            routes.succeeded(leave, now)
        else:
            routes.key_failed(leave, now, trouble, wait_s)
        _log.warning(
            "key_trouble", extra={"endpoint": name, "named": leave.key, "why": trouble.value, "status": setback.status}
        )
        if len(progress.tried_keys[name]) >= max(1, len(pool)):
            progress.given_up.add(name)

    def _wanted_wait(self, setback: Setback) -> float | None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in setback.headers}
        wait_s = retry_after_s(headers, self._wall_s())
        if wait_s is None:
            wait_s = setback.error.retry_after_s
        if wait_s is None and setback.status == 429:
            wait_s = retry_after_in_text(setback.error.message)
        return wait_s

    # --- nobody can answer --------------------------------------------------------------------------------------------

    def _nobody(self, call: Call, wanted: Wanted, choice: Choice, progress: _Progress) -> Unanswered:
        if progress.last is not None:
            return self._error_of(call, progress)
        if call.count_tokens and choice.candidates:
            return Unanswered(404, Error(ErrorKind.NOT_FOUND, "no endpoint counts tokens", status=404))
        wait_s = choice.retry_after_s
        message = choice.sentence(wanted)
        if wait_s is None:
            return Unanswered(404, Error(ErrorKind.NOT_FOUND, message, status=404))
        return Unanswered(503, Error(ErrorKind.OVERLOADED, message, status=503, retry_after_s=max(1.0, wait_s)))

    def _error_of(self, call: Call, progress: _Progress) -> Unanswered:
        """The last setback as the client shall see it."""
        setback, candidate = progress.last, progress.last_candidate
        if setback is None or candidate is None:
            error = setback.error if setback else Error(ErrorKind.UNAVAILABLE, "no attempt may be made now", status=503)
            return Unanswered(error.status or 503, error)
        name, error, status = candidate.endpoint.name, setback.error, setback.status
        if not status or setback.kind is not None:
            message = f"the endpoint {name} failed: {error.message}"
            return Unanswered(error.status or 502, msgspec.structs.replace(error, message=message))
        if key_trouble(status, setback.body) is KeyTrouble.REFUSED:
            # The client's own token is good: with a 401 it would tell its user to log in again.
            message = f"the endpoint {name} refused the gateway's key: {error.message}"
            told = msgspec.structs.replace(error, kind=ErrorKind.UNAVAILABLE, message=message, status=502, code=None)
            return Unanswered(502, told, headers=(("x-should-retry", "false"),))
        native = candidate.dialect is call.dialect
        headers = headers_for_client(setback.headers, native=native)
        as_it_came = (status, headers, setback.body) if native and setback.body[:1] == b"{" else None
        return Unanswered(status, error, headers=tuple(headers), native=as_it_came)


def _hide(key: str, setback: Setback, attempt: Attempt) -> None:
    """Take the key out of what the endpoint said: some repeat it, and this goes to the client and the records."""
    if len(key) >= SHORTEST:
        raw, shown = key.encode(), SHOWN.encode()
        setback.error = msgspec.structs.replace(setback.error, message=without_key(setback.error.message, key))
        setback.body, attempt.answer = setback.body.replace(raw, shown), attempt.answer.replace(raw, shown)


def _first(choice: Choice, call: Call) -> Candidate | None:
    if not call.count_tokens:
        return choice.candidates[0] if choice.candidates else None
    for candidate in choice.candidates:
        if candidate.dialect is Dialect.MESSAGES and not candidate.known.count_tokens_missing:
            return candidate
    return None


_NO_KEY = KeySource()
