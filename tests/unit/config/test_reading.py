"""Reading config.yaml: what is taken, and how mistakes are told."""

from __future__ import annotations

import os
import re
import string
from pathlib import Path

import pytest
from codex_control.errors import BadConfig, UnsafePath
from codex_control.service.config_key import Kind, keys_of
from codex_control.service.config_reader import MAX_FILE_BYTES
from codex_supervisor.config.model import Config, LogLevel
from codex_supervisor.config.profiles import Effort, Profile, Sandbox
from codex_supervisor.config.reading import load_config, parse_config
from hypothesis import example, given, settings
from hypothesis import strategies as st


def refusal(text: str | bytes) -> str:
    with pytest.raises(BadConfig) as caught:
        parse_config(text, "config.yaml")
    return str(caught.value)


# What is taken


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "turns:\n", "turns: {}\nprofiles:\n", "null", "\ufeff{}"])
def test_what_says_nothing_means_the_defaults(text: str) -> None:
    assert parse_config(text, "config.yaml") == Config()


def test_every_kind_of_value_is_read() -> None:
    config = parse_config(
        """
        codex:
          binary: ~/bin/codex
          overrides: [model=gpt-5.1, 'model_providers."my x".name="y"']
          demo_model: yes
        instances: {idle_after: 0, memory_limit: 512MiB, probe_interval: 250ms}
        turns: {prompt_limit: 500_000}
        log: {level: debug}
        profiles:
          reviewer: {effort: xhigh, model: 4.1, sandbox: read-only}
        defaults: {profile: reviewer}
        """,
        "config.yaml",
    )
    assert config.codex.binary == "~/bin/codex"
    assert config.codex.overrides == ("model=gpt-5.1", 'model_providers."my x".name="y"')
    assert config.codex.demo_model is True
    assert (config.instances.idle_after, config.instances.memory_limit) == (0, 512 * 2**20)
    assert config.instances.probe_interval == 0.25
    assert config.turns.prompt_limit == 500_000
    assert config.log.level is LogLevel.DEBUG
    assert config.profiles == {"reviewer": Profile(effort=Effort.XHIGH, model="4.1", sandbox=Sandbox.READ_ONLY)}


def test_a_built_in_profile_keeps_what_is_not_named() -> None:
    config = parse_config("profiles: {high: {model: gpt-5.1}}", "config.yaml")
    assert config.profiles["high"] == Profile(effort=Effort.HIGH, model="gpt-5.1")


# How mistakes are told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "turns:\n  timeoutt: 5",
            "config.yaml, line 2, column 3: there is no key `turns.timeoutt`. Did you mean `turns.timeout`?",
        ),
        ("idle_after: 4", "line 1, column 1: there is no key `idle_after`. Did you mean `instances.idle_after`?"),
        ("turns:\n  wxyz: 5", "The keys of `turns` are timeout, queue_limit"),
        ("turns:\n\ttimeout: 3", "line 2, column 1: a tab stands where YAML wants spaces. Indent with spaces."),
        (
            "turns: {timeout: soon}",
            "`turns.timeout` is 'soon'. Expected a duration such as 30s, 15m, 1h30m or 250ms, 1s to 7d.",
        ),
        ("turns: {timeout: 8d}", "`turns.timeout` is too large: '8d'"),
        ("turns: {timeout: 0}", "`turns.timeout` is too small: '0'"),
        ("turns: {timeout: }", "`turns.timeout` has no value"),
        ("turns: {timeout: [1]}", "`turns.timeout` is a list"),
        ("turns: 5", "`turns` is a number, expected keys with values"),
        ("- 1", "line 1, column 1: the file holds a list"),
        ("log: {level: inof}", "`log.level` is 'inof'. Did you mean 'info'?"),
        ("log: {level: off}", "'off', which YAML reads as true or false"),
        ("metrics: {enabled: 'yes'}", "`metrics.enabled` is 'yes'. Expected true or false."),
        ("metrics: {address: 0.0.0.0}", "127.0.0.1, the only address allowed"),
        ("metrics: {port: 65536}", "`metrics.port` is too large: '65536'"),
        ("metrics: {port: 010}", "`metrics.port` is '010'. Expected a whole number"),
        ("codex: {overrides: [a=b, c]}", "`codex.overrides[1]` is 'c'"),
        ("codex: {home: relative}", "a path that begins with `/` or `~/`"),
        ('codex: {home: "/a\\0b"}', "holds a NUL character"),
        ("profiles: {x y: {}}", "'x y' cannot name a profile"),
        ("profiles: {a: {effort: hihg}}", "`profiles.a.effort` is 'hihg'. Did you mean 'high'?"),
        ("defaults: {profile: hihg}", "`defaults.profile` names 'hihg', which is no profile. Did you mean 'high'?"),
        ("instances: {backoff_initial: 1m}", "`instances.backoff_initial` is larger than `instances.backoff_max`"),
        ("tasks: {engine: postgresql}", "the engine `postgresql` needs to know its database"),
        ("tasks: {dsn: a, dsn_env: B}", "`tasks` has dsn and dsn_env"),
        ("tasks: {stall_after: 10s}", "`tasks.stall_after` is not longer than `tasks.heartbeat_interval`"),
        ("log: {}\nlog: {}", "line 2, column 1: `log` is already set in line 1. Keep one of them."),
        ("a: &x 1\nb: *x", "line 1, column 4: anchors and aliases are not allowed"),
        ("log: !!python/object/apply:os.system [id]", "is not allowed"),
        ("---\nlog: {}\n---\nlog: {}", "line 3, column 1: a second document begins"),
        ("[[[[[[[[[[", "this is nested too deeply"),
        ("? [a]\n: 1", "a list cannot be a key"),
        ("log: [", "this is not YAML"),
        ("a: b: c", "line 1, column 5: a second `:` stands in this line"),
        ('"\\UFFFFFFFF": 1', "an escape names a character that does not exist"),
        ("a: \x00", "line 1, column 4: the character U+0000 may not stand in YAML"),
        (b"a: 1\nb: \xff", "config.yaml, line 2, column 4: byte 0xff is not UTF-8. Save the file as UTF-8 text."),
        (b"\x00" * (MAX_FILE_BYTES + 1), "config.yaml is too large"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_its_fix(text: str | bytes, told: str) -> None:
    assert told in refusal(text)


def test_several_mistakes_are_all_told_the_unknown_keys_first() -> None:
    told = refusal("turns:\n  timeout: soon\n  queue_limit: -1\nlog:\n  levle: info\n")
    assert told.startswith("config.yaml has 3 mistakes: line 5, column 3: there is no key `log.levle` (did you mean ")
    assert told.index("; line 2, ") < told.index("; line 3, ")
    assert told.endswith("Correct them, and try again.")


def test_of_very_many_mistakes_as_many_are_told_as_an_error_has_room_for() -> None:
    told = refusal("".join(f"nonsense{number}: 1\n" for number in range(100)))
    assert told.startswith("config.yaml has 100 mistakes: line 1, ")
    assert re.search(r"; and \d+ more\. See all with `codex-supervisor config check`\.$", told)
    assert len(told) < 1100


def test_a_long_value_is_cut_short_and_its_control_characters_are_escaped() -> None:
    told = refusal(f'log: {{level: "\\e[31m{"x" * 5000}"}}')
    assert "\x1b" not in told
    assert len(told) < 400


# Whatever is written, the answer is a configuration or a clear refusal

_SECTIONS = [key.name for key in keys_of(Config)]
_NAMES = [key.name for section in keys_of(Config) if section.section for key in keys_of(section.section)]
_SCALARS = st.one_of(
    st.sampled_from(["0", "1", "-1", "30s", "1GiB", "yes", "null", "~", "x", "*a", "&a 1", "!!x", "<<", "'", '"\\x"']),
    st.text(string.printable, max_size=8),
)
_LINES = st.builds(
    lambda indent, key, value: f"{'  ' * indent}{key}: {value}",
    st.integers(0, 3),
    st.sampled_from([*_SECTIONS, *_NAMES, "x"]),
    _SCALARS,
)


@settings(deadline=None)  # PyYAML takes 200 ms for the brackets
@given(st.one_of(st.text(), st.lists(_LINES, max_size=8).map("\n".join)))
@example("? ? ? ? a")
@example("a: " + "[" * 3000)
@example("a:\n" * 2000)
@example("\x85a: 1")
@example("%YAML 9.9\n---\n{}")
@example("\ud800")
@example("0: " + "9" * 5000)
def test_any_text_is_read_or_refused(text: str) -> None:
    assert read_or_refused(text)


@given(st.binary())
@example(b"\xff\xfea\x00")
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    assert read_or_refused(content)


def read_or_refused(text: str | bytes) -> bool:
    """Whether a configuration came of it, or one sentence that names the file."""
    try:
        return isinstance(parse_config(text, "config.yaml"), Config)
    except BadConfig as refused:
        error = refused
    return error.what.startswith("config.yaml") and "\n" not in str(error)


# The file


def test_a_missing_file_means_the_defaults(tmp_path: Path) -> None:
    assert load_config(tmp_path / "none" / "config.yaml") == Config()


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("log: {level: error}")
    path.chmod(0o600)
    assert load_config(path).log.level is LogLevel.ERROR


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "dotfile").write_text("log: {level: error}")
    (tmp_path / "dotfile").chmod(0o644)
    (tmp_path / "config.yaml").symlink_to(tmp_path / "dotfile")
    assert load_config(tmp_path / "config.yaml").log.level is LogLevel.ERROR


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("")
    path.chmod(0o602)
    with pytest.raises(UnsafePath, match=r"Run `chmod go-w"):
        load_config(path)


def test_a_file_that_a_shared_group_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("")
    path.chmod(0o660)
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another group")
    os.chown(path, -1, 1)
    with pytest.raises(UnsafePath, match=r"can be written by other users"):
        load_config(path)


def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    path = tmp_path / "config.yaml"
    path.write_text("")
    os.chown(path, 12345, -1)
    with pytest.raises(UnsafePath, match=r"belongs to another user"):
        load_config(path)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(BadConfig, match=r"is not a file"):
            load_config(path)


def test_every_text_key_is_bounded() -> None:
    for section in keys_of(Config):
        for key in keys_of(section.section) if section.section else ():
            about = key.description
            if about.kind in (Kind.TEXT, Kind.TEXTS) and key.choices is None:
                assert about.max_length or about.pattern, f"{section.name}.{key.name}"
