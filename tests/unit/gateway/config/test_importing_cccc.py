"""What a configuration of CCCC becomes."""

from __future__ import annotations

import pytest
from codex_control.errors import BadConfig
from codex_gateway.config.endpoint import AuthHeader, ClientKind, MaxTokensField
from codex_gateway.config.importing_cccc import import_cccc
from codex_gateway.config.model import Bodies, Config, Thinking
from codex_gateway.config.reading import parse_config
from codex_gateway.dialect.neutral import Dialect

CCCC = """\
server: {host: 0.0.0.0, port: 8081}
logging: {level: info, log_request_types: failed, log_request_body: truncated}
timeouts: {tls_handshake: 5s, response_header: 90s, health_check_timeout: 20s, check_interval: 1m}
blacklist: {enabled: true}
i18n: {}
endpoints:
  - name: relay/one
    url_anthropic: https://relay.example/api/
    url_openai: https://relay.example/openai
    auth_type: auth_token
    auth_value: tok-1
    enabled: true
    priority: 2
    tags: [fast, "model:claude", 中]
    model_rewrite:
      enabled: true
      rules: [{source_pattern: claude-*, target_model: glm-4.6}]
    proxy: {type: socks5, address: "127.0.0.1:1080", username: me, password: "p@ss/1"}
    header_overrides: {user-agent: x, anthropic-beta: ""}
    parameter_overrides: {temperature: "0.7", top_k: "", metadata: '{"a": 1}', name: plain}
    max_tokens_field_name: max_completion_tokens
    client_type: claude_code
    openai_preference: auto
    sse_config: {require_done_marker: true}
  - name: chat only
    url_openai: https://c.example/v1/chat/completions
    auth_type: api_key
    auth_value: k
    enabled: false
  - name: responses
    url_openai: https://r.example/v1
    openai_preference: responses
    auth_type: auto
    auth_value: k2
  - name: old
    url: https://old.example
    endpoint_type: openai
    path_prefix: /v1/chat/completions
    auth_value: k3
  - name: login
    url_anthropic: https://api.anthropic.com
    auth_type: oauth
    oauth_config: {access_token: sk-ant-oat01-secret, refresh_token: sk-ant-ort01-secret, token_url: "https://x"}
  - {name: nothing, url_gemini: "https://g.example"}
tagging:
  pipeline_timeout: 5s
  taggers:
    - {name: m, type: builtin, builtin_type: model, tag: haiku, enabled: true, config: {expected_value: "*haiku*"}}
    - {name: b, type: body-json, tag: "model:claude", config: {json_path: model, value_pattern: "claude-*"}}
    - {name: t, type: builtin, builtin_type: thinking, tag: deep, enabled: false, config: {min_budget_tokens: 8000}}
    - {name: u, type: builtin, builtin_type: user-message, tag: u, config: {expected_value: "fix (it)*"}}
    - {name: s, type: starlark, tag: s, config: {script: "def should_tag(): pass"}}
"""


def test_endpoints_come_over() -> None:
    imported = import_cccc(CCCC, "cccc.yaml")
    endpoints = {one.name: one for one in imported.config.endpoints}
    assert list(endpoints) == [
        "relay-one (messages)",
        "relay-one (chat)",
        "chat only",
        "responses",
        "old",
        "login",
    ]
    relay = endpoints["relay-one (messages)"]
    assert (relay.url, relay.dialects, relay.priority) == ("https://relay.example/api", (Dialect.MESSAGES,), 2)
    assert relay.auth.bearer == "tok-1"
    assert relay.tags == ("fast", "model:claude", "t-")
    assert relay.model_rewrite[0].target_model == "glm-4.6"
    assert relay.proxy == "socks5://me:p%40ss%2F1@127.0.0.1:1080"
    assert relay.header_overrides == {"user-agent": "x", "anthropic-beta": None}
    assert relay.parameter_overrides == {"temperature": 0.7, "top_k": None, "metadata": {"a": 1}, "name": "plain"}
    assert relay.max_tokens_field is MaxTokensField.MAX_COMPLETION_TOKENS
    assert relay.clients == (ClientKind.CLAUDE_CODE,)
    assert (relay.timeouts.connect, relay.timeouts.first_byte) == (5, 90)
    assert endpoints["relay-one (chat)"].dialects == (Dialect.CHAT, Dialect.RESPONSES)
    chat = endpoints["chat only"]
    assert (chat.dialects, chat.enabled, chat.auth.header) == ((Dialect.CHAT,), False, AuthHeader.X_API_KEY)
    assert endpoints["responses"].dialects == (Dialect.RESPONSES,)
    assert (endpoints["old"].url, endpoints["old"].dialects) == (
        "https://old.example/v1/chat/completions",
        (Dialect.CHAT,),
    )
    assert endpoints["login"].enabled is False


def test_the_rest_comes_over_or_is_named() -> None:
    imported = import_cccc(CCCC.encode(), "cccc.yaml")
    config = imported.config
    assert [(rule.name, rule.tags, rule.enabled) for rule in config.tagging.rules] == [
        ("m", ("haiku",), True),
        ("b", ("model:claude",), True),
        ("t", ("deep",), False),
        ("u", ("u",), True),
    ]
    assert config.tagging.rules[1].body == "model=claude-*"
    assert (config.tagging.rules[2].thinking, config.tagging.rules[2].thinking_budget_from) == (Thinking.ON, 8000)
    assert config.tagging.rules[3].user_message == r"(?s)\Afix\ \(it\).*\Z"
    assert config.records.bodies is Bodies.FAILED
    assert (config.health.timeout, config.health.interval) == (20, 60)
    notes = "\n".join(imported.notes)
    for word in ("port 8081", "0.0.0.0", "`blacklist`", "sse_config", "OAuth", "Gemini", "nothing: it has no URL"):
        assert word in notes
    for word in ("'s' is a Starlark", "'t-'"):
        assert word in notes
    assert "secret" not in notes
    assert "i18n" not in notes


def test_the_text_reads_as_the_same() -> None:
    imported = import_cccc(CCCC, "cccc.yaml")
    assert parse_config(imported.text(), "x") == imported.config
    assert parse_config(imported.text("# words\n"), "x") == imported.config
    existing = "endpoints:\n  # mine\n  - name: mine\n    url: http://m\n"
    text = imported.text(existing)
    assert text.startswith(existing)
    assert [one.name for one in parse_config(text, "x").endpoints] == [
        "mine",
        *(one.name for one in imported.config.endpoints),
    ]


def test_the_example_of_its_makers_without_endpoints_is_told() -> None:
    with pytest.raises(BadConfig, match="it has no list `endpoints`"):
        import_cccc("server: {port: 8080}\nanthropic_endpoint: {url: '', api_key: x}\n", "config.yaml")
    with pytest.raises(BadConfig, match="is not YAML"):
        import_cccc("a: [", "config.yaml")
    assert import_cccc("endpoints: []\n", "config.yaml").config == Config()


def test_an_endpoint_behind_a_proxy_that_is_not_known_is_switched_off() -> None:
    # Without its proxy it would be asked directly, which nobody has allowed.
    theirs = """
endpoints:
  - {name: a, url_openai: "https://a.example", proxy: {type: https, address: "h:1"}}
  - {name: b, url_openai: "https://b.example", proxy: {address: "h:1"}}
"""
    imported = import_cccc(theirs, "cccc.yaml")
    tls, plain = imported.config.endpoints
    assert (tls.enabled, tls.proxy) == (False, "")
    assert (plain.enabled, plain.proxy) == (True, "http://h:1")
    assert [note for note in imported.notes if "proxy" in note] == [
        "a: a proxy of type 'https' is not known here; it is switched off"
    ]
