"""All endpoints together: failures, keys, reloads, checks."""

from __future__ import annotations

import random

from codex_gateway.config.endpoint import Auth, ClientKind, Endpoint, PoolKey
from codex_gateway.config.model import AffinityConfig, BreakerConfig, Config, LearnedConfig
from codex_gateway.dialect.neutral import Dialect
from codex_gateway.route.affinity import Place
from codex_gateway.route.choose import Wanted
from codex_gateway.route.keys import KeyTrouble
from codex_gateway.route.learned import Fact, Learned, Topic
from codex_gateway.route.routes import Leave, Routes
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

A = Endpoint(
    name="a", url="http://a", priority=1, auth=Auth(keys=(PoolKey(name="k1", env="A"), PoolKey(name="k2", env="B")))
)
B = Endpoint(name="b", url="http://b", priority=2, auth=Auth(env="B"))
C = Endpoint(name="c", url="http://c", priority=3)
CONFIG = Config(endpoints=(A, B, C), breaker=BreakerConfig(consecutive=2, open_for=10))
WANTED = Wanted(dialect=Dialect.MESSAGES, client=ClientKind.OTHER, model="m")


def _routes(config: Config = CONFIG, *facts: Fact) -> Routes:
    return Routes(config, Learned(facts), random.Random(1).random)


def _names(routes: Routes, now_s: float, wanted: Wanted = WANTED) -> list[str]:
    return [one.endpoint.name for one in routes.choose(wanted, now_s, 0).candidates]


def _leave(routes: Routes, name: str, now_s: float) -> Leave:
    candidate = next(one for one in routes.choose(WANTED, now_s, 0).candidates if one.endpoint.name == name)
    leave = routes.admit(candidate, now_s)
    assert leave is not None
    return leave


def test_an_endpoint_that_fails_is_out_and_comes_back_through_a_probe() -> None:
    routes = _routes()
    for _ in range(2):
        routes.failed(_leave(routes, "c", 0), 0, "connection refused")
    assert _names(routes, 0) == ["a", "b"]
    choice = routes.choose(WANTED, 4, 0)
    assert str(choice.excluded[0]) == "c: it is left alone for 6 s more after failures (connection refused)"
    assert routes.out(4) == ["c"]
    probe = _leave(routes, "c", 10)
    assert _names(routes, 10) == ["a", "b"]
    routes.succeeded(probe, 11)
    assert _names(routes, 11) == ["a", "b", "c"]
    assert routes.last_model("c") == "m"


def test_a_key_that_fails_does_not_take_the_endpoint_with_it() -> None:
    routes = _routes()
    for _ in range(20):
        leave = _leave(routes, "a", 0)
        if leave.key == "k1":
            routes.key_failed(leave, 0, KeyTrouble.NO_BALANCE)
            break
        routes.succeeded(leave, 0)
    assert {_leave(routes, "a", 1).key for _ in range(10)} == {"k2"}
    routes.key_failed(_leave(routes, "a", 1), 1, KeyTrouble.RATE_LIMITED, 7)
    choice = routes.choose(WANTED, 2, 0)
    assert [one.endpoint.name for one in choice.candidates] == ["b", "c"]
    assert "key k1: its balance is empty; key k2: it is rate limited" in choice.excluded[0].why
    assert choice.excluded[0].back_in_s == 6
    assert _names(routes, 8)[0] == "a"
    assert routes.out(2) == []


def test_the_gateways_own_requests_take_a_key_that_works() -> None:
    routes = _routes()
    own = routes.own_key(A, 0)
    assert own is not None
    assert own.name == "k1"
    while (leave := _leave(routes, "a", 0)).key != "k1":
        routes.abandoned(leave, 0)
    routes.key_failed(leave, 0, KeyTrouble.REFUSED)
    own = routes.own_key(A, 1)
    assert own is not None
    assert own.name == "k2"
    routes.key_failed(_leave(routes, "a", 1), 1, KeyTrouble.REFUSED)
    assert routes.own_key(A, 2) is not None, "where none works one is shown all the same"
    assert routes.own_key(C, 0) is None


def test_keys_that_were_tried_are_not_given_again() -> None:
    routes = _routes()
    candidate = routes.choose(WANTED, 0, 0).candidates[0]
    first = routes.admit(candidate, 0)
    assert first is not None
    second = routes.admit(candidate, 0, (first.key,))
    assert second is not None
    assert {first.key, second.key} == {"k1", "k2"}
    assert routes.admit(candidate, 0, ("k1", "k2")) is None
    assert first.source is not None
    assert first.source.source() in ("env A", "env B")


def test_an_endpoint_without_keys_that_wants_one_is_out_after_a_while() -> None:
    routes = _routes()
    for _ in range(2):
        routes.key_failed(_leave(routes, "c", 0), 0, KeyTrouble.REFUSED)
    assert "it was refused" in routes.choose(WANTED, 1, 0).excluded[0].why


def test_a_reload_keeps_what_is_known_but_for_another_way_in() -> None:
    routes = _routes()
    late = _leave(routes, "b", 0)
    for name in "bc":
        for _ in range(2):
            routes.failed(_leave(routes, name, 0), 0, "503")
    routes.affinity.went("talk", Place("a"), 0)
    other = Endpoint(name="b", url="http://other", priority=2, auth=Auth(env="B"))
    heavier = Endpoint(name="c", url="http://c", priority=3, weight=9)
    routes.apply(Config(endpoints=(other, heavier), breaker=CONFIG.breaker, affinity=AffinityConfig()))
    assert _names(routes, 1) == ["b"]
    assert routes.affinity.place("talk", 1) is None
    routes.failed(late, 1, "late")
    routes.succeeded(late, 1)
    assert _names(routes, 1) == ["b"]
    assert routes.reset() == ["b", "c"]
    assert _names(routes, 1) == ["b", "c"]
    routes.apply(Config())
    assert "no endpoint is configured" in routes.choose(WANTED, 1, 0).sentence(WANTED)


def test_facts_of_an_endpoint_with_another_url_are_forgotten() -> None:
    facts = [Fact(endpoint=name, topic=Topic.TOOLS, expires_at_s=100) for name in "abc"]
    routes = _routes(CONFIG, *facts)
    moved = Endpoint(name="b", url="http://other", auth=Auth(env="B"))
    heavier = Endpoint(name="c", url="http://c", weight=9)
    assert {fact.endpoint for fact in routes.apply(Config(endpoints=(moved, heavier)))} == {"a", "b"}
    assert [fact.endpoint for fact in routes.learned.all(0)] == ["c"]


def test_checks_close_and_open_breakers() -> None:
    routes = _routes()
    for _ in range(2):
        routes.failed(_leave(routes, "c", 0), 0, "503")
    routes.checked("c", 5, healthy=False, why="still 503")  # it is open anyway
    assert routes.choose(WANTED, 5, 0).excluded[0].back_in_s == 5
    routes.checked("c", 12, healthy=False, why="still 503")
    assert "still 503" in routes.choose(WANTED, 12, 0).excluded[0].why
    routes.checked("c", 13, healthy=True)
    assert _names(routes, 13) == ["a", "b", "c"]
    routes.checked("gone", 13, healthy=True)


def test_what_was_learned_is_used_or_not() -> None:
    fact = Fact(endpoint="a", topic=Topic.DIALECT, detail="messages", expires_at_s=100)
    assert _names(_routes(CONFIG, fact), 0) == ["b", "c"]
    assert _names(_routes(Config(endpoints=(A, B, C), learned=LearnedConfig(enabled=False)), fact), 0) == [
        "a",
        "b",
        "c",
    ]


def test_how_endpoints_are_is_told() -> None:
    fact = Fact(endpoint="b", topic=Topic.TOOLS, expires_at_s=100)
    routes = _routes(
        Config(endpoints=(A, B, C, Endpoint(name="d", url="http://d", enabled=False)), breaker=CONFIG.breaker), fact
    )
    for _ in range(2):
        routes.failed(_leave(routes, "c", 0), 0, "503")
    told = [
        (one.endpoint.name, one.state, one.back_in_s, len(one.keys), len(one.facts)) for one in routes.statuses(1, 0)
    ]
    assert told == [("a", "ready", 0, 2, 0), ("b", "ready", 0, 1, 1), ("c", "out", 9, 0, 0), ("d", "disabled", 0, 0, 0)]
    assert [one.state for one in routes.statuses(10, 0)][2] == "probing"


class RoutesMachine(RuleBasedStateMachine):
    """Any order of choices, results, reloads and time; permits come back in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.routes = _routes()
        self.now_s = 0.0
        self.under_way: list[Leave] = []

    @rule(seconds=st.sampled_from([0.0, 1.0, 11.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(which=st.integers(0, 2))
    def ask(self, which: int) -> None:
        choice = self.routes.choose(WANTED, self.now_s, 0)
        if which < len(choice.candidates):
            leave = self.routes.admit(choice.candidates[which], self.now_s)
            # What was just chosen can be asked.
            assert leave is not None
            self.under_way.append(leave)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), result=st.sampled_from(["ok", "failed", "key", "abandoned"]))
    def end(self, data: st.DataObject, result: str) -> None:
        leave = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        match result:
            case "ok":
                self.routes.succeeded(leave, self.now_s)
            case "failed":
                self.routes.failed(leave, self.now_s, "503", 3)
            case "key":
                self.routes.key_failed(leave, self.now_s, KeyTrouble.RATE_LIMITED, 5)
            case _:
                self.routes.abandoned(leave, self.now_s)

    @rule(url=st.sampled_from(["http://a", "http://z"]), enabled=st.booleans())
    def reload(self, url: str, enabled: bool) -> None:
        first = Endpoint(name="a", url=url, priority=1, auth=A.auth, enabled=enabled)
        self.routes.apply(Config(endpoints=(first, B, C), breaker=CONFIG.breaker))

    @invariant()
    def none_is_lost(self) -> None:
        choice = self.routes.choose(WANTED, self.now_s, 0)
        assert len(choice.candidates) + len(choice.excluded) == 3
        # All come back by themselves, but for a disabled one.
        later = self.routes.choose(WANTED, self.now_s + 10_000, 0)
        assert all(one.why == "it is disabled" for one in later.excluded)
        # That look turned breakers half open; what follows starts from there.
        self.now_s += 10_000 if len(later.candidates) > len(choice.candidates) else 0


RoutesMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestRoutesMachine = RoutesMachine.TestCase
