"""What is shown of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from codex_control.service.config_key import Key, Kind, keys_of
from codex_supervisor.config.choosing import all_profiles
from codex_supervisor.config.model import Config
from codex_supervisor.config.profiles import Effort, Profile, Sandbox, Summary
from codex_supervisor.config.reading import parse_config
from codex_supervisor.config.reference import (
    HIDDEN,
    config_differences,
    config_reference,
    config_values,
    keep_restart_keys,
    show_config,
)
from codex_supervisor.config.tasks import TaskEngine
from hypothesis import given
from hypothesis import strategies as st

DOCS = Path(__file__).resolve().parents[3] / "docs"

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


def _values(key: Key) -> st.SearchStrategy[Any]:
    about = key.description
    low, high = about.minimum, about.maximum
    match about.kind:
        case Kind.SECONDS:
            assert low is not None
            assert high is not None
            drawn = st.integers(int(low * 1000), int(high * 1000)).map(lambda milliseconds: milliseconds / 1000)
            return drawn | st.just(0.0) if about.zero_means else drawn
        case Kind.BYTES | Kind.COUNT:
            assert low is not None
            assert high is not None
            drawn_int = st.integers(int(low), int(high))
            return drawn_int | st.just(0) if about.zero_means else drawn_int
        case Kind.SWITCH:
            return st.booleans()
        case _ if key.choices is not None:
            return st.sampled_from(list(key.choices))
        case _:
            return st.just(key.default)


_PROFILES = st.dictionaries(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
    st.builds(
        Profile,
        effort=st.sampled_from(Effort),
        summary=st.sampled_from(Summary),
        sandbox=st.sampled_from(Sandbox),
        model=_TEXT,
        developer_instructions=_TEXT,
    ),
    max_size=3,
)
_CONFIGS = st.builds(
    Config,
    profiles=_PROFILES,
    **{
        section.name: st.builds(section.section, **{key.name: _values(key) for key in keys_of(section.section)})
        for section in keys_of(Config)
        if section.section
    },
).filter(
    lambda config: (
        config.instances.backoff_initial <= config.instances.backoff_max
        and config.tasks.engine is TaskEngine.SQLITE
        and (not config.tasks.stall_after or config.tasks.stall_after > config.tasks.heartbeat_interval)
    )
)


@given(_CONFIGS)
def test_what_is_shown_reads_as_the_same(config: Config) -> None:
    read = parse_config(show_config(config), "shown")
    assert msgspec.structs.replace(read, profiles={}) == msgspec.structs.replace(config, profiles={})
    assert all_profiles(read) == all_profiles(config)


def test_defaults_are_marked() -> None:
    shown = show_config(parse_config("log: {level: debug}", "config.yaml")).splitlines()
    assert "  level: debug" in shown
    assert any(line.startswith("  files_kept: 3 ") and line.endswith("# default") for line in shown)


def test_plain_values_hold_every_profile() -> None:
    values = config_values(Config())
    assert values["instances"]["idle_after"] == 900
    assert set(values["profiles"]) == {"high", "default", "low"}


def test_no_secret_is_shown() -> None:
    config = parse_config("tasks: {engine: postgresql, dsn: 'postgresql://me:geheim@db/tasks'}", "config.yaml")
    assert "geheim" not in show_config(config)
    assert f"  dsn: {HIDDEN}\n" in show_config(config)
    assert config_values(config)["tasks"]["dsn"] == HIDDEN
    assert config_values(Config())["tasks"]["dsn"] == ""


def test_differences_are_told_apart_by_when_they_apply() -> None:
    new = parse_config(
        "log: {level: debug}\nmetrics: {port: 1234}\nprofiles: {low: {model: x}, mine: {}}", "config.yaml"
    )
    applied, waiting = config_differences(Config(), new)
    assert applied == ("log.level", "profiles.low", "profiles.mine")
    assert waiting == ("metrics.port",)
    assert config_differences(new, new) == ((), ())


def test_what_waits_for_a_restart_keeps_its_old_value() -> None:
    new = parse_config("log: {level: debug}\nmetrics: {port: 1234}\nprofiles: {mine: {}}", "config.yaml")
    in_force = keep_restart_keys(Config(), new)
    assert in_force.metrics == Config().metrics
    assert in_force.log.level == "debug"
    assert in_force.profiles == new.profiles


def test_the_reference_names_every_key_and_choice() -> None:
    page = config_reference()
    for section in keys_of(Config):
        for key in keys_of(section.section) if section.section else ():
            assert f"`{section.name}.{key.name}`" in page
            for member in key.choices or ():
                assert f"<br>`{member.value}`: " in page
    assert ": |" not in page


def test_the_reference_page_is_current() -> None:
    assert (DOCS / "configuration.md").read_text() == config_reference(), "run make docs"
