"""Facts: learned, renewed, expired, forgotten, bounded; and what follows from them."""

from __future__ import annotations

import random

import pytest
from codex_gateway.config.endpoint import Auth, AuthHeader, Endpoint, Family, MaxTokensField
from codex_gateway.config.model import HealthConfig, HealthRequest
from codex_gateway.dialect.neutral import Dialect
from codex_gateway.route.choose import Candidate
from codex_gateway.route.endpoint_facts import auth_headers, facts_for, is_native
from codex_gateway.route.health import check_for, is_healthy
from codex_gateway.route.learned import MAX_FACTS_PER_ENDPOINT, NOTHING, Fact, Known, Learned, Topic
from codex_gateway.route.refusals import Refusal


def _fact(topic: Topic, detail: str = "", model: str = "", *, endpoint: str = "e", at_s: float = 0.0) -> Fact:
    return Fact(endpoint=endpoint, topic=topic, detail=detail, model=model, learned_at_s=at_s, expires_at_s=at_s + 100)


def test_what_is_known_comes_from_the_facts_of_endpoint_and_model() -> None:
    learned = Learned(
        [
            _fact(Topic.PARAMETER, "store", "m"),
            _fact(Topic.PARAMETER, "top_p", "other"),
            _fact(Topic.TOOLS, "", "m"),
            _fact(Topic.TOOL_KIND, "web_search", "m"),
            _fact(Topic.DIALECT, "responses"),
            _fact(Topic.AUTH_HEADER, "bearer"),
            _fact(Topic.COUNT_TOKENS),
            _fact(Topic.SYSTEM_MIDWAY, "", "m"),
            _fact(Topic.PARAMETER, "x", "m", endpoint="another"),
        ]
    )
    known = learned.known("e", "m", 50)
    assert known.parameters == ("store",)
    assert known.tools_refused
    assert known.system_midway_refused
    assert known.count_tokens_missing
    assert (known.tool_kinds_refused, known.dialects_missing) == (frozenset({"web_search"}), frozenset({"responses"}))
    assert known.auth_header == "bearer"
    assert len(known.used) == 7
    assert learned.known("e", "m", 50) is known
    assert learned.known("nobody", "m", 50) is NOTHING
    assert not learned.known("e", "third", 50).tools_refused


def test_facts_expire_and_are_renewed() -> None:
    learned = Learned([_fact(Topic.TOOLS)])
    assert learned.known("e", "m", 99).tools_refused
    assert not learned.known("e", "m", 100).tools_refused
    assert learned.add(_fact(Topic.TOOLS, at_s=90)) is False
    assert learned.known("e", "m", 150).tools_refused
    assert [fact.topic for fact in learned.expire(190)] == [Topic.TOOLS]
    assert len(learned) == 0
    assert learned.add(_fact(Topic.TOOLS, at_s=200)) is True


def test_of_some_there_is_only_one() -> None:
    learned = Learned()
    learned.add(_fact(Topic.MAX_TOKENS_FIELD, "max_tokens", "m"))
    learned.add(_fact(Topic.MAX_TOKENS_FIELD, "max_completion_tokens", "m"))
    assert learned.known("e", "m", 1).max_tokens_field == "max_completion_tokens"
    assert len(learned) == 1


def test_facts_are_forgotten_by_what_is_given() -> None:
    facts = [_fact(Topic.TOOLS, model="m"), _fact(Topic.PARAMETER, "a"), _fact(Topic.PARAMETER, "a", endpoint="f")]
    for given, left in (
        ({}, 0),
        ({"endpoint": "e"}, 1),
        ({"topic": Topic.PARAMETER}, 1),
        ({"endpoint": "e", "detail": "a"}, 2),
        ({"model": "m"}, 2),
        ({"endpoint": "z"}, 3),
    ):
        learned = Learned(facts)
        gone = learned.forget(**given)
        assert (len(learned), len(gone)) == (left, 3 - left)


def test_facts_are_bounded() -> None:
    learned = Learned()
    for number in range(MAX_FACTS_PER_ENDPOINT + 50):
        learned.add(_fact(Topic.PARAMETER, f"p{number}", at_s=number / 1000))
    assert len(learned) == MAX_FACTS_PER_ENDPOINT
    assert "p0" not in learned.known("e", "m", 10).parameters
    assert learned.all(10)[0].detail == f"p{MAX_FACTS_PER_ENDPOINT + 49}"


def test_every_fact_can_be_said_and_belongs_to_a_model_or_not() -> None:
    for topic in Topic:
        assert len(_fact(topic, "d", "m").sentence()) > 10
    assert Refusal(topic=Topic.PARAMETER, detail="store").fact("e", "m", 400, 5, 10).model == "m"
    fact = Refusal(topic=Topic.DIALECT, detail="responses").fact("e", "m", 404, 5, 10)
    assert (fact.model, fact.status, fact.learned_at_s, fact.expires_at_s) == ("", 404, 5, 15)
    assert Refusal(topic=Topic.DIALECT).fact("e", "m", 404, 0, 1e6).expires_at_s == 3600


def test_a_random_life_keeps_the_count_right() -> None:
    generator, learned = random.Random(3), Learned()
    for step in range(3000):
        kind = generator.random()
        if kind < 0.9:
            learned.add(
                _fact(
                    generator.choice(list(Topic)),
                    generator.choice("ab"),
                    generator.choice(["", "m"]),
                    endpoint=generator.choice("xyz"),
                    at_s=step / 10,
                )
            )
        elif kind < 0.95:
            learned.expire(step / 10)
        else:
            learned.forget(generator.choice("xyz"))
        assert len(learned) == len(learned.all(-1))


def _endpoint(url: str = "https://relay.example", **more: object) -> Endpoint:
    return Endpoint(name="e", url=url, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "family", "dialect", "native"),
    [
        ("https://api.anthropic.com", Family.AUTO, Dialect.MESSAGES, True),
        ("https://api.anthropic.com", Family.AUTO, Dialect.CHAT, False),
        ("https://api.openai.com/v1", Family.AUTO, Dialect.RESPONSES, True),
        ("https://x.openai.azure.com/openai/v1", Family.AUTO, Dialect.CHAT, True),
        ("https://api.anthropic.com.evil.example", Family.AUTO, Dialect.MESSAGES, False),
        ("https://relay.example", Family.AUTO, Dialect.MESSAGES, False),
        ("https://relay.example", Family.ANTHROPIC, Dialect.MESSAGES, True),
        ("https://api.openai.com", Family.OTHER, Dialect.CHAT, False),
    ],
)
def test_own_features_are_of_the_maker(url: str, family: Family, dialect: Dialect, native: bool) -> None:
    assert is_native(_endpoint(url, family=family), dialect) is native


def test_facts_for_a_conversion() -> None:
    known = Known(
        tools_refused=True,
        max_tokens_field="max_completion_tokens",
        system_midway_refused=True,
        tool_kinds_refused=frozenset({"web_search_preview"}),
    )
    candidate = Candidate(endpoint=_endpoint(), dialect=Dialect.CHAT, model="m", known=known, moved=True)
    facts = facts_for(candidate, drop_signatures=True)
    assert (facts.dialect, facts.model, facts.endpoint, facts.native) == (Dialect.CHAT, "m", "e", False)
    assert facts.no_tools
    assert facts.refuses_system_midway
    assert facts.drop_encrypted
    assert facts.drop_signatures
    assert facts.max_tokens_field == "max_completion_tokens"
    written = _endpoint("https://api.openai.com/v1", max_tokens_field=MaxTokensField.MAX_TOKENS)
    own = facts_for(Candidate(endpoint=written, dialect=Dialect.RESPONSES, model="m", known=known))
    assert own.max_tokens_field == "max_tokens"
    assert (own.native, own.web_search, own.custom_tools, own.namespaces) == (True, False, None, None)
    plain = facts_for(Candidate(endpoint=_endpoint(), dialect=Dialect.CHAT, model="m"))
    assert plain.max_tokens_field is None
    assert not plain.no_stop
    for parameter in ("stop", "stop_sequences"):
        candidate = Candidate(
            endpoint=_endpoint(), dialect=Dialect.CHAT, model="m", known=Known(parameters=(parameter,))
        )
        assert facts_for(candidate).no_stop


@pytest.mark.parametrize(
    ("url", "auth", "learned", "dialect", "ways"),
    [
        ("https://api.anthropic.com", Auth(api_key="k"), "", Dialect.MESSAGES, ["x-api-key"]),
        ("https://api.openai.com", Auth(api_key="k"), "", Dialect.CHAT, ["bearer"]),
        ("https://x.openai.azure.com", Auth(api_key="k"), "", Dialect.CHAT, ["api-key"]),
        ("https://relay.example", Auth(env="K"), "", Dialect.MESSAGES, ["x-api-key", "bearer"]),
        ("https://relay.example", Auth(env="K"), "", Dialect.CHAT, ["bearer", "x-api-key"]),
        ("https://relay.example", Auth(env="K"), "bearer", Dialect.MESSAGES, ["bearer"]),
        ("https://relay.example", Auth(bearer="K"), "x-api-key", Dialect.MESSAGES, ["bearer"]),
        ("https://relay.example", Auth(env="K", header=AuthHeader.API_KEY), "", Dialect.CHAT, ["api-key"]),
    ],
)  # fmt: skip
def test_keys_are_sent_as_configured_learned_or_usual(
    url: str, auth: Auth, learned: str, dialect: Dialect, ways: list[str]
) -> None:
    source = auth.pool()[0]
    assert list(auth_headers(_endpoint(url, auth=auth), source, Known(auth_header=learned), dialect)) == ways


def test_checks_are_cheap_and_go_where_they_can() -> None:
    check = check_for(_endpoint(), HealthConfig(), NOTHING)
    assert check is not None
    assert (check.method, check.url, check.body) == ("GET", "https://relay.example/v1/models", None)
    assert check_for(_endpoint(), HealthConfig(request=HealthRequest.NONE), NOTHING) is None
    no_models = Known(
        models_missing=True, dialects_missing=frozenset({"responses"}), max_tokens_field="max_completion_tokens"
    )
    both = _endpoint(dialects=(Dialect.RESPONSES, Dialect.CHAT))
    assert check_for(both, HealthConfig(), no_models) is None  # no model to ask for
    check = check_for(both, HealthConfig(), no_models, last_model="m")
    assert check is not None
    assert check.url == "https://relay.example/v1/chat/completions"
    assert check.body == {
        "model": "m",
        "max_completion_tokens": 1,
        "messages": [{"role": "user", "content": "ping"}],
    }
    full = _endpoint("https://h/x/messages", models=("claude-*", "claude-1"))
    check = check_for(full, HealthConfig(), NOTHING)
    assert check is not None
    assert (check.url, check.body and check.body["model"]) == ("https://h/x/messages", "claude-1")


def test_answers_that_show_life() -> None:
    assert [status for status in (200, 400, 404, 401, 429, 500, 503, 529) if is_healthy(status)] == [200, 400, 404]
