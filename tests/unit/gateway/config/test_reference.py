"""What is shown of the gateway's configuration."""

from __future__ import annotations

from pathlib import Path

from codex_control.service.config_key import keys_of
from codex_control.service.config_reader import every_key
from codex_gateway.config.endpoint import Auth, Endpoint, PoolKey
from codex_gateway.config.model import Config
from codex_gateway.config.reading import parse_config
from codex_gateway.config.reference import config_reference, show_config
from codex_gateway.config.writing import write_config

DOCS = Path(__file__).resolve().parents[4] / "docs"


def test_every_key_is_in_the_reference_with_its_meaning() -> None:
    page = config_reference()
    keys = list(every_key(Config))
    assert len(keys) > 100
    assert not [key for key in keys if f"| `{key}` |" not in page]


def test_the_example_of_the_page_is_right() -> None:
    page = config_reference()
    example = page.split("```yaml\n")[1].split("```")[0]
    assert [endpoint.name for endpoint in parse_config(example, "example").endpoints] == ["anthropic", "deepseek"]


def test_the_page_is_current() -> None:
    assert (DOCS / "gateway-configuration.md").read_text(encoding="utf-8") == config_reference()


def test_every_default_is_within_its_bounds() -> None:
    for section in keys_of(Config):
        for key in keys_of(section.section) if section.section else ():
            about = key.description
            if about.minimum is not None and not (about.zero_means and key.default == 0):
                assert about.maximum is not None
                assert about.minimum <= key.default <= about.maximum, key.name


def test_secrets_are_hidden_and_the_rest_is_shown() -> None:
    config = Config(
        endpoints=(
            Endpoint(
                name="a",
                url="http://a",
                auth=Auth(keys=(PoolKey(bearer="sk-1", weight=2), PoolKey(env="KEY"))),
                proxy="http://u:sk-1@h:1",
                header_overrides={"X-Api-Key": "sk-1", "x-team": "t", "cookie": None},
            ),
            Endpoint(name="b", url="http://b", auth=Auth(api_key="sk-1"), proxy="http://h:1"),
        )
    )
    shown = show_config(config)
    assert "sk-1" not in shown
    for word in ("weight: 2", "env: KEY", "x-team: t", "cookie: null", "proxy: http://h:1"):
        assert word in shown
    assert parse_config(write_config(config), "x") == config
    assert show_config(Config()).startswith("#")
