"""Changes of config.yaml: what was meant is changed, and nothing else."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from codex_control.errors import BadConfig, BadInput, NotFound
from codex_gateway.config.endpoint import Auth, Endpoint, PoolKey, Rewrite
from codex_gateway.config.model import Config
from codex_gateway.config.reading import parse_config
from codex_gateway.config.rewriting import add_endpoints, reorder, rewrite_config, set_enabled
from codex_gateway.config.writing import write_config
from codex_gateway.dialect.neutral import Dialect
from hypothesis import given, settings
from hypothesis import strategies as st

TEXT = """\
# my file
listen:
  port: 9000   # here

endpoints:
  # first one
  - name: "a"      # A
    url: https://a.example
    auth: {api_key: 'sk-1'}
    enabled: off  # not now
    timeouts:
      idle: 1m30s

  # second one,
  # on two lines
  - name: b
    url: https://b.example/v1
    dialects: [responses, chat]
    # the tail of b
  - {name: c, url: 'https://c.example'}  # short
# prices below
prices:
  - model: "gpt*"
    input: 1.25
"""


def _changes(old: str, new: str) -> list[str]:
    diff = difflib.ndiff(old.splitlines(keepends=True), new.splitlines(keepends=True))
    return [line.rstrip() for line in diff if line[0] in "+-"]


def test_a_switch_that_stands_there_is_changed_in_its_place() -> None:
    assert _changes(TEXT, set_enabled(TEXT, ["a"], True)) == [
        "-     enabled: off  # not now",
        "+     enabled: true  # not now",
    ]


def test_a_switch_that_is_not_there_is_added_below_the_name() -> None:
    assert _changes(TEXT, set_enabled(TEXT, ["b"], False)) == ["+     enabled: false"]
    assert _changes(TEXT, set_enabled(TEXT, ["c"], False)) == [
        "-   - {name: c, url: 'https://c.example'}  # short",
        "+   - {name: c, enabled: false, url: 'https://c.example'}  # short",
    ]


def test_what_is_the_default_already_changes_nothing() -> None:
    assert set_enabled(TEXT, ["b", "c"], True) == TEXT


def test_reordered_endpoints_take_their_comments_along() -> None:
    new = reorder(TEXT, ["c", "b"])
    assert [(one.name, one.priority) for one in parse_config(new, "x").endpoints] == [("c", 10), ("b", 20), ("a", 30)]
    lines = [line.strip() for line in new.splitlines()]
    assert lines[lines.index("- name: b") - 2 : lines.index("- name: b")] == ["# second one,", "# on two lines"]
    assert lines[lines.index('- name: "a"      # A') - 1] == "# first one"
    assert lines[lines.index("dialects: [responses, chat]") + 1] == "# the tail of b"
    assert {line for line in TEXT.splitlines() if "#" in line and "short" not in line} <= set(new.splitlines())
    assert reorder(new, ["c", "b"]) == new


def test_the_rest_keeps_its_order_of_priority() -> None:
    new = reorder(TEXT.replace("  - name: b\n", "  - name: b\n    priority: 1\n"), ["c"])
    assert [one.name for one in parse_config(new, "x").endpoints] == ["c", "b", "a"]


NEW = Endpoint(
    name="new: one",
    url="https://n.example/v1",
    dialects=(Dialect.CHAT,),
    auth=Auth(keys=(PoolKey(env="A"), PoolKey(bearer="t", weight=3))),
    model_rewrite=(Rewrite(source_pattern="*", target_model="g"),),
    parameter_overrides={"a.b": None, "t": 0.5, "yes": "no", "n": [1, {"m": "two\nlines"}]},
)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.rstrip("\n"),
        "",
        "# only words",
        "endpoints:\n- name: q\n  url: http://q\n",
        "endpoints:   # none yet\n",
        "endpoints: []\nlog: {level: debug}\n",
        "endpoints: ~\n",
        "log: {level: debug}\n",
    ],
)
def test_an_endpoint_is_added_behind_the_last(text: str) -> None:
    before = parse_config(text, "x")
    new = add_endpoints(text, [NEW])
    after = parse_config(new, "x")
    assert after.endpoints == (*before.endpoints, NEW)
    assert after.log == before.log
    gone = {line[2:] for line in _changes(text, new) if line.startswith("-")}
    assert gone <= {"# only words", "endpoints: []", "endpoints: ~", "    input: 1.25"}


@pytest.mark.parametrize(
    "text", ["endpoints: [{name: a, url: 'http://a'}]\n", "{endpoints: [{name: a, url: 'http://a'}]}\n"]
)
def test_what_cannot_be_changed_well_is_left_to_a_person(text: str) -> None:
    with pytest.raises(BadConfig, match="Change it by hand"):
        add_endpoints(text, [NEW])
    assert parse_config(set_enabled(text, ["a"], False), "x").endpoints[0].enabled is False


def test_unknown_and_double_names_are_refused() -> None:
    with pytest.raises(NotFound, match="Name one of them"):
        set_enabled(TEXT, ["z"], True)
    with pytest.raises(BadInput, match="named twice"):
        reorder(TEXT, ["a", "a"])
    with pytest.raises(BadInput, match="already an endpoint"):
        add_endpoints(TEXT, [Endpoint(name="a", url="http://a")])


def test_line_ends_of_windows_stay() -> None:
    text = TEXT.replace("\n", "\r\n")
    new = set_enabled(text, ["b"], False)
    assert new.count("\n") == new.count("\r\n") == text.count("\n") + 1


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    real = tmp_path / "real.yaml"
    real.write_text(TEXT)
    real.chmod(0o644)
    link = tmp_path / "config.yaml"
    link.symlink_to(real)
    config = rewrite_config(link, lambda text: set_enabled(text, ["b"], False))
    assert [one.enabled for one in config.endpoints] == [False, False, True]
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [real, link] or set(tmp_path.iterdir()) == {real, link}


def test_a_file_that_is_wrong_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("endpoint: []\n")
    with pytest.raises(BadConfig, match="there is no key"):
        rewrite_config(file, lambda text: text + "#\n")
    file.write_text(TEXT)
    with pytest.raises(BadConfig, match="as changed"):
        rewrite_config(file, lambda text: text + "nonsense: 1\n")
    assert file.read_text() == TEXT


def test_a_missing_file_is_made(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "config.yaml"
    rewrite_config(file, lambda text: add_endpoints(text, [NEW]))
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert file.read_text().startswith("# The configuration of codex-gateway")


_NAMES = st.text(alphabet="ab: #'\"-é中", min_size=1, max_size=8).filter(lambda name: name.strip() == name)


@settings(deadline=None)
@given(
    names=st.lists(_NAMES, min_size=1, max_size=5, unique=True),
    priorities=st.lists(st.integers(0, 3), min_size=5, max_size=5),
    data=st.data(),
)
def test_any_order_is_reached(names: list[str], priorities: list[int], data: st.DataObject) -> None:
    endpoints = tuple(
        Endpoint(name=name, url="http://h", priority=priority)
        for name, priority in zip(names, priorities, strict=False)
    )
    text = write_config(Config(endpoints=endpoints))
    first = data.draw(st.permutations(names).map(lambda order: order[: len(order) // 2 + 1]))
    after = parse_config(reorder(text, first), "x").endpoints
    assert [one.name for one in after][: len(first)] == first
    assert {one.name for one in after} == set(names)
    assert [one.priority for one in after] == [10 * (place + 1) for place in range(len(names))]
