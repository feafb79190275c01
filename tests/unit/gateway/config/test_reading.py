"""Reading the gateway's config.yaml: what is taken, and how mistakes are told."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from codex_control.errors import BadConfig, UnsafePath
from codex_control.service.yaml_nodes import Mistakes
from codex_gateway.config.endpoint import Auth, ClientKind, Endpoint, PoolKey, Rewrite
from codex_gateway.config.model import Bodies, Config, Thinking
from codex_gateway.config.reading import load_config, parse_config, secrets_in
from codex_gateway.dialect.neutral import Dialect
from hypothesis import given
from hypothesis import strategies as st

FULL = """\
listen: {port: 9000}
endpoints:
  - name: Main one
    url: https://api.anthropic.com
    auth: {api_key: sk-ant-1, header: bearer}
    enabled: off
    priority: 5
    weight: 3
    tags: [cheap, "team:a"]
    clients: [claude-code, codex]
    models: [claude-*, 4.1]
    model_rewrite:
      - {source_pattern: "*haiku*", target_model: small}
    parameter_overrides:
      temperature: 0.5
      thinking.budget_tokens: 2000
      top_p: null
      stop: ["a", 1, true, {deep: [~]}]
      octal: 010
    header_overrides: {x-team: a, anthropic-beta: null}
    proxy: socks5://user:pass@127.0.0.1:1080
    timeouts: {first_byte: 1m30s, total: 0}
    max_tokens_field: max_completion_tokens
    family: anthropic
  - name: pool
    url: http://localhost:8000/v1
    dialects: [chat, responses]
    auth:
      keys:
        - {name: a, env: KEY_A, weight: 2}
        - {file: ~/.secrets/b}
        - {command: [pass, show, c], enabled: false}
tagging:
  rules:
    - {tags: [think], thinking: on, thinking_budget_from: 8_000}
    - {python: "my.rules:tag"}
records: {bodies: none, total_limit: 2GiB}
prices:
  - {model: "gpt-5*", input: 1.25, output: 10}
"""


def test_a_full_file_is_read() -> None:
    with pytest.raises(BadConfig, match=r"`tagging.rules\[0\].thinking` is 'on', which YAML reads as true or false"):
        parse_config(FULL, "config.yaml")
    config = parse_config(FULL.replace("thinking: on", 'thinking: "on"'), "config.yaml")
    first, pool = config.endpoints
    assert (config.listen.port, config.records.bodies, config.records.total_limit) == (9000, Bodies.NONE, 2 * 1024**3)
    assert (first.enabled, first.priority, first.weight, first.tags) == (False, 5, 3, ("cheap", "team:a"))
    assert first.clients == (ClientKind.CLAUDE_CODE, ClientKind.CODEX)
    assert first.models == ("claude-*", "4.1")
    assert first.model_rewrite == (Rewrite(source_pattern="*haiku*", target_model="small"),)
    assert first.parameter_overrides == {
        "temperature": 0.5,
        "thinking.budget_tokens": 2000,
        "top_p": None,
        "stop": ["a", 1, True, {"deep": [None]}],
        "octal": "010",
    }
    assert first.header_overrides == {"x-team": "a", "anthropic-beta": None}
    assert (first.timeouts.first_byte, first.timeouts.total, first.timeouts.connect) == (90, 0, 10)
    assert pool.dialects == (Dialect.CHAT, Dialect.RESPONSES)
    assert [(key.name, key.source(), key.weight) for key in pool.auth.pool()] == [
        ("a", "env KEY_A", 2),
        ("2", "file ~/.secrets/b", 1),
        ("3", "command pass", 1),
    ]
    assert config.tagging.rules[0].thinking is Thinking.ON
    assert config.prices[0].input == 1.25
    assert set(secrets_in(config)) == {"endpoints[0].auth.api_key", "endpoints[0].proxy"}


def test_an_empty_file_is_the_defaults() -> None:
    for text in ("", "# nothing\n", "endpoints:\n", "endpoints: []\n"):
        assert parse_config(text, "config.yaml") == Config()


E1 = "endpoints:\n  - name: a\n    url: https://a.example\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            E1 + "    enabeld: true\n",
            "line 4, column 5: there is no key `endpoints[0].enabeld`. Did you mean `endpoints[0].enab",
        ),
        ("endpoint: []\n", "line 1, column 1: there is no key `endpoint`. Did you mean `endpoints`"),
        ("max_tokens_field: auto\n", "did you mean `endpoints[].max_tokens_field`"),
        ("endpoints:\n  - name: a\n", "line 2, column 5: `endpoints[0]` has no `url`. Add `url: ` with text"),
        ("endpoints: {a: 1}\n", "`endpoints` is a section. Expected a list of sections, each with a `-`"),
        ("endpoints:\n  - a\n", "`endpoints[0]` is text, expected keys with values"),
        (E1 + E1.partition("\n")[2], "line 4, column 11: two endpoints are called 'a': `endpoints[0]` is the other"),
        (E1 + "    dialects: [mesages]\n", "`endpoints[0].dialects[0]` is 'mesages'. Did you mean 'messages'"),
        (E1 + "    dialects: []\n", "`endpoints[0].dialects` is empty"),
        (E1 + "    clients: [codex, codex]\n", "`endpoints[0].clients` names one twice"),
        (E1 + "    auth: {api_key: k, env: E}\n", "`endpoints[0].auth` has `api_key` and `env`. Keep one of them"),
        (E1 + "    auth: {keys: [{env: E}], env: E}\n", "has `keys` and `env`. Move the one key into the pool"),
        (E1 + "    auth: {keys: [{weight: 2}]}\n", "`endpoints[0].auth.keys[0]` holds no key"),
        (
            E1 + "    auth: {keys: [{env: E, name: x}, {env: F, name: x}]}\n",
            "two keys of `endpoints[0].auth` are called",
        ),
        (E1.replace("a.example", "a.example/v1/responses"), "the full URL of the dialect `responses`, and"),
        (E1.replace("https://a", "ftp://a"), "expected text, at most 2,000 characters; an http or https URL"),
        (E1.replace("https://a", "https://me:pw@a"), "an http or https URL without a user and password"),
        (E1.replace("a.example", "[::1"), "the host or the port of `endpoints[0].url` cannot be"),
        (E1.replace("a.example", "[zz]"), "the host or the port of `endpoints[0].url` cannot be"),
        (E1.replace("a.example", "a:99999"), "the host or the port of `endpoints[0].url` cannot be"),
        (E1.replace("a.example", "a:80:80/v1"), "the host or the port of `endpoints[0].url` cannot be"),
        (E1.replace("a.example", "a..b"), "the host or the port of `endpoints[0].url` cannot be"),
        (E1.replace("a.example", "a.example/ü"), "its path percent-encoded"),
        (E1 + "    proxy: http://user:secret\n", "the host or the port of `endpoints[0].proxy` cannot be. Correct"),
        (E1.replace("name: a", 'name: "a\\tb"'), "text without `/`, on one line"),
        (E1 + "    weight: 0\n", "`endpoints[0].weight` is too small: '0'. Expected a whole number, 1 to 1,000,000"),
        (E1 + "    header_overrides: {'bad name': x}\n", "'bad name' cannot stand in `endpoints[0]"),
        (
            E1 + "    parameter_overrides: [1]\n",
            "`endpoints[0].parameter_overrides` is a list, expected keys with values",
        ),
        ("tagging: {rules: [{tags: [a]}]}\n", "`tagging.rules[0]` has no condition"),
        ("tagging: {rules: [{model: x}]}\n", "`tagging.rules[0]` gives no tags"),
        ("tagging: {rules: [{tags: [a], user_message: '('}]}\n", "is no regular expression"),
        ("tagging: {rules: [{tags: [a], python: 'os.system'}]}\n", "500 characters; `module.name:function`"),
        ("retries: {backoff_initial: 1m}\n", "`retries.backoff_initial` is larger than `retries.backoff_max`"),
        ("listen: {host: 0.0.0.0}\n", "expected text, 127.0.0.1, ::1 or localhost"),
        ("prices: [{model: a, input: -1}]\n", "`prices[0].input` is '-1'. Expected a number, 0 to 100,000"),
        ("endpoints: &a []\n", "anchors and aliases are not allowed"),
    ],
)
def test_mistakes_name_place_and_fix(text: str, message: str) -> None:
    with pytest.raises(BadConfig) as caught:
        parse_config(text, "config.yaml")
    error = caught.value
    told = "\n".join(error.lines()) if isinstance(error, Mistakes) else str(error)
    assert message.lower() in told.lower()


def test_several_mistakes_are_counted() -> None:
    with pytest.raises(BadConfig) as caught:
        parse_config(E1 + "    weight: x\n    priority: y\nlisen: {}\n", "config.yaml")
    assert "config.yaml has 3 mistakes" in str(caught.value)
    assert str(caught.value).endswith("Correct them, and try again.")


@pytest.mark.parametrize(
    "line",
    [
        "auth: {api_key: 'sk-secret\\0'}",
        "auth: {bearer: [sk-secret]}",
        "proxy: 'htp://u:sk-secret@h'",
        "auth: {api_key: true}",
    ],
)
def test_mistakes_show_no_secret(line: str) -> None:
    with pytest.raises(BadConfig) as caught:
        parse_config(E1 + "    " + line.replace("'sk-secret\\0'", '"sk-secret\\0"') + "\n", "config.yaml")
    assert "sk-secret" not in str(caught.value)


def test_a_repr_shows_no_secret() -> None:
    endpoint = Endpoint(
        name="a",
        url="https://a.example",
        auth=Auth(keys=(PoolKey(api_key="sk-secret"), PoolKey(command=("pass", "sk-secret")))),
        proxy="http://u:sk-secret@h:1",
        header_overrides={"x-api-key": "sk-secret"},
    )
    assert "sk-secret" not in repr(Config(endpoints=(endpoint,)))
    assert "sk-secret" not in repr(endpoint.auth)


@pytest.mark.parametrize(
    "secret", ["auth: {api_key: k}", "header_overrides: {authorization: k}", "proxy: http://u:p@h:1"]
)
def test_a_file_with_a_secret_must_be_private(tmp_path: Path, secret: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(E1 + f"    {secret}\n")
    file.chmod(0o644)
    with pytest.raises(UnsafePath, match=r"can be read by other users and holds a secret .* [Rr]un `chmod 600"):
        load_config(file)
    file.chmod(0o600)
    assert load_config(file).endpoints


def test_a_file_without_secrets_may_be_read_by_others(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(E1 + "    auth: {env: KEY}\n")
    file.chmod(0o644)
    assert load_config(file).endpoints
    file.chmod(0o666)
    with pytest.raises(UnsafePath, match="written by other users"):
        load_config(file)
    assert load_config(tmp_path / "absent.yaml") == Config()


@given(text=st.text(alphabet="abe:-[]{}#'\" \n,*&!|>%@0159endpoints", max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(BadConfig):
        assert isinstance(parse_config(text, "config.yaml"), Config)


def test_a_proxy_over_tls_is_refused_with_what_there_is() -> None:
    for scheme in ("http", "socks5", "socks5h"):
        parse_config(f"{E1}    proxy: {scheme}://h:1\n", "config.yaml")
    with pytest.raises(BadConfig) as caught:
        parse_config(f"{E1}    proxy: https://u:sk-secret@h:1\n", "config.yaml")
    assert "`http://HOST:PORT` or `socks5://HOST:PORT`" in str(caught.value)
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("Content-Length: '5'", "begin and end"),
        ("transfer-encoding: chunked", "begin and end"),
        ("accept-encoding: gzip", "packed"),
        ('x-a: "1\\r\\nx-b: sk-secret"', "line break"),
        ("x-a: sk-secret€", "no header may have"),
    ],
)
def test_header_overrides_cannot_break_requests(line: str, named: str) -> None:
    parse_config(f"{E1}    header_overrides: {{x-a: 'café 1', Host: h, connection: null}}\n", "config.yaml")
    with pytest.raises(BadConfig) as caught:
        parse_config(f"{E1}    header_overrides:\n      {line}\n", "config.yaml")
    assert named in str(caught.value)
    assert "line 5" in str(caught.value) or "line 4" in str(caught.value)
    assert "sk-secret" not in str(caught.value)
