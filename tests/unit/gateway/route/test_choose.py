"""Which endpoint: filters, order, shares, reasons."""

from __future__ import annotations

import random
from collections import Counter

from codex_gateway.config.endpoint import ClientKind, Endpoint, Rewrite
from codex_gateway.dialect.neutral import Dialect
from codex_gateway.route.affinity import Place
from codex_gateway.route.choose import Barrier, Choice, Condition, Wanted, choose
from codex_gateway.route.learned import NOTHING, Known
from hypothesis import given
from hypothesis import strategies as st

WANTED = Wanted(dialect=Dialect.MESSAGES, client=ClientKind.CLAUDE_CODE, model="claude-opus-4")


def _endpoint(name: str, **more: object) -> Endpoint:
    return Endpoint(name=name, url="https://h", **more)  # type: ignore[arg-type]


def _names(choice: Choice) -> list[str]:
    return [candidate.endpoint.name for candidate in choice.candidates]


def _choose(*endpoints: Endpoint, wanted: Wanted = WANTED, **more: object) -> Choice:
    return choose(endpoints, wanted, uniform=lambda: 0.5, **more)  # type: ignore[arg-type]


def test_each_barrier_is_told() -> None:
    tried = Wanted(dialect=Dialect.MESSAGES, client=ClientKind.CLAUDE_CODE, model="m", tried=("tried",))
    choice = choose(
        [
            _endpoint("off", enabled=False),
            _endpoint("tried"),
            _endpoint("codex", clients=(ClientKind.CODEX,)),
            _endpoint("tagged", tags=("cheap",)),
            _endpoint("models", models=("gpt-*",)),
            _endpoint("missing", dialects=(Dialect.RESPONSES,)),
            _endpoint("open"),
            _endpoint("keys"),
        ],
        tried,
        known=lambda name, _: Known(dialects_missing=frozenset({"responses"})) if name == "missing" else NOTHING,
        condition=lambda name: {
            "open": Condition("it is left alone for 7 s", back_in_s=7),
            "keys": Condition("no key", Barrier.KEYS, 20),
        }.get(name, Condition()),
        uniform=random.random,
    )
    assert not choice.candidates
    assert [one.barrier for one in choice.excluded] == [
        Barrier.DISABLED,
        Barrier.TRIED,
        Barrier.CLIENT,
        Barrier.TAGS,
        Barrier.MODEL,
        Barrier.DIALECT,
        Barrier.OPEN,
        Barrier.KEYS,
    ]
    assert choice.retry_after_s == 7
    said = choice.sentence(tried)
    for words in (
        "off: it is disabled",
        "codex: it serves codex alone",
        "wants a tag of cheap, and the request has none",
    ):
        assert words in said


def test_without_any_endpoint_the_way_out_is_told() -> None:
    choice = _choose()
    assert "no endpoint is configured" in choice.sentence(WANTED)
    assert choice.retry_after_s is None


def test_waiting_does_not_help_against_settings() -> None:
    assert _choose(_endpoint("a", enabled=False)).retry_after_s is None
    assert _choose(_endpoint("a")).retry_after_s is None


def test_priority_comes_before_dialect_and_dialect_before_chance() -> None:
    choice = _choose(
        _endpoint("late", priority=9),
        _endpoint("converts", dialects=(Dialect.CHAT,), priority=5, weight=1000),
        _endpoint("own", priority=5),
        _endpoint("first", dialects=(Dialect.CHAT,), priority=1),
    )
    assert _names(choice) == ["first", "own", "converts", "late"]
    assert [one.dialect for one in choice.candidates] == [
        Dialect.CHAT,
        Dialect.MESSAGES,
        Dialect.CHAT,
        Dialect.MESSAGES,
    ]


def test_tagged_endpoints_come_first_for_their_requests() -> None:
    wanted = Wanted(dialect=Dialect.MESSAGES, client=ClientKind.CODEX, model="m", tags=frozenset({"cheap", "x"}))
    choice = _choose(_endpoint("plain", priority=1), _endpoint("tagged", tags=("cheap",), priority=9), wanted=wanted)
    assert _names(choice) == ["tagged", "plain"]


def test_a_conversation_stays_where_it_is_while_that_is_well() -> None:
    wanted = Wanted(dialect=Dialect.MESSAGES, client=ClientKind.CODEX, model="m", place=Place("b", "k2"))
    a, b = _endpoint("a", priority=1), _endpoint("b", priority=9, dialects=(Dialect.CHAT,))
    choice = _choose(a, b, wanted=wanted)
    assert [(one.endpoint.name, one.key, one.moved) for one in choice.candidates] == [
        ("b", "k2", False),
        ("a", "", True),
    ]
    out = _choose(a, b, wanted=wanted, condition=lambda name: Condition("out") if name == "b" else Condition())
    assert [(one.endpoint.name, one.moved) for one in out.candidates] == [("a", True)]


def test_models_are_rewritten_and_filtered_by_either_name() -> None:
    rewrites = (
        Rewrite(source_pattern="*haiku*", target_model="small"),
        Rewrite(source_pattern="claude-*", target_model="big"),
    )
    choice = _choose(
        _endpoint("both", model_rewrite=rewrites),
        _endpoint("by target", model_rewrite=rewrites, models=("big",)),
        _endpoint("by source", model_rewrite=rewrites, models=("claude-*",)),
        _endpoint("neither", model_rewrite=rewrites, models=("small",)),
    )
    assert {one.model for one in choice.candidates} == {"big"}
    assert [one.endpoint for one in choice.excluded] == ["neither"]


def test_a_missing_dialect_is_converted_from() -> None:
    wanted = Wanted(dialect=Dialect.RESPONSES, client=ClientKind.CODEX, model="m")
    endpoint = _endpoint("a", dialects=(Dialect.RESPONSES, Dialect.CHAT))
    assert _choose(endpoint, wanted=wanted).candidates[0].dialect is Dialect.RESPONSES
    known = Known(dialects_missing=frozenset({"responses"}))
    assert _choose(endpoint, wanted=wanted, known=lambda _n, _m: known).candidates[0].dialect is Dialect.CHAT


def test_requests_with_tools_come_last_to_endpoints_that_refused_them() -> None:
    known = {"a": Known(tools_refused=True)}
    wanted = Wanted(dialect=Dialect.MESSAGES, client=ClientKind.CODEX, model="m", tools=True)
    endpoints = (_endpoint("a", priority=1), _endpoint("b", priority=2))
    for one, order in ((wanted, ["b", "a"]), (WANTED, ["a", "b"])):
        assert _names(_choose(*endpoints, wanted=one, known=lambda n, _m: known.get(n, NOTHING))) == order


def test_shares_follow_the_weights() -> None:
    generator = random.Random(1)
    endpoints = [_endpoint("a", weight=1), _endpoint("b", weight=3), _endpoint("c", weight=6)]
    first: Counter[str] = Counter()
    second: Counter[str] = Counter()
    for _ in range(10_000):
        names = _names(choose(endpoints, WANTED, uniform=generator.random))
        first[names[0]] += 1
        second[names[1]] += names[0] == "c"
    assert abs(first["a"] - 1000) < 150
    assert abs(first["b"] - 3000) < 250
    assert abs(first["c"] - 6000) < 250
    # Of those that fall back from c, a gets a quarter.
    assert abs(second["a"] / first["c"] - 0.25) < 0.03


_ENDPOINTS = st.lists(
    st.builds(
        Endpoint,
        name=st.sampled_from("abcdef"),
        url=st.just("https://h"),
        enabled=st.booleans(),
        priority=st.integers(0, 3),
        weight=st.integers(1, 5),
        dialects=st.lists(st.sampled_from(Dialect), min_size=1, max_size=3, unique=True).map(tuple),
        clients=st.lists(st.sampled_from(ClientKind), min_size=1, max_size=2, unique=True).map(tuple),
        tags=st.lists(st.sampled_from("xy"), max_size=2, unique=True).map(tuple),
        models=st.lists(st.sampled_from(["m*", "n", "*"]), max_size=2).map(tuple),
    ),
    max_size=6,
    unique_by=lambda endpoint: endpoint.name,
)


@given(
    endpoints=_ENDPOINTS,
    dialect=st.sampled_from(Dialect),
    client=st.sampled_from([ClientKind.CLAUDE_CODE, ClientKind.CODEX, ClientKind.OTHER]),
    tags=st.frozensets(st.sampled_from("xy")),
    tried=st.sets(st.sampled_from("abcdef")),
    out=st.sets(st.sampled_from("abcdef")),
    place=st.none() | st.sampled_from("abcdef").map(Place),
    seed=st.integers(),
)
def test_every_endpoint_is_either_right_or_excluded_with_a_reason(
    endpoints: list[Endpoint],
    dialect: Dialect,
    client: ClientKind,
    tags: frozenset[str],
    tried: set[str],
    out: set[str],
    place: Place | None,
    seed: int,
) -> None:
    wanted = Wanted(dialect=dialect, client=client, model="m1", tags=tags, tried=tried, place=place)
    choice = choose(
        endpoints,
        wanted,
        condition=lambda name: Condition("out", back_in_s=1) if name in out else Condition(),
        uniform=random.Random(seed).random,
    )
    assert sorted([*_names(choice), *(one.endpoint for one in choice.excluded)]) == sorted(e.name for e in endpoints)
    assert all(one.why for one in choice.excluded)
    for candidate in choice.candidates:
        endpoint = candidate.endpoint
        assert endpoint.enabled
        assert endpoint.name not in tried | out
        assert client in endpoint.clients or ClientKind.ANY in endpoint.clients
        assert not endpoint.tags or tags & set(endpoint.tags)
        assert candidate.dialect in endpoint.dialects
        assert candidate.dialect is dialect or dialect not in endpoint.dialects
    names = _names(choice)
    if place is not None and place.endpoint in names:
        assert names[0] == place.endpoint
        assert not choice.candidates[0].moved
    rest = [one for one in choice.candidates if place is None or one.endpoint.name != place.endpoint]
    order = [(not one.endpoint.tags, one.endpoint.priority, one.dialect is not dialect) for one in rest]
    assert order == sorted(order)
