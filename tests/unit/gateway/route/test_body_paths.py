"""Places in a body."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from codex_gateway.route.body_paths import look_up, overridden, resolve, steps_of, without
from hypothesis import given
from hypothesis import strategies as st

BODY: dict[str, Any] = {"a": {"b": [{"c": 1, "d": 2}, {"c": 3}, 5]}, "e": None, "type": "x"}


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("messages[3].content.0.text", ("messages", "3", "content", "0", "text")),
        ("$.tools[*].name", ("tools", "*", "name")),
        ("/messages/3", ("messages", "3")),
        ("tools['x']", ("tools", "x")),
        ("", ()),
    ],
)
def test_paths_are_cut_into_steps(path: str, steps: tuple[str, ...]) -> None:
    assert steps_of(path) == steps


def test_values_are_looked_up() -> None:
    assert list(look_up(BODY, ("a", "b", "*", "c"))) == [1, 3]
    assert list(look_up(BODY, ("a", "b", "-1"))) == [5]
    assert list(look_up(BODY, ("a", "b", "9" * 5000))) == []
    assert list(look_up(BODY, ("e",))) == [None]
    assert list(look_up(BODY, ("a", "z"))) == []


def test_validators_variants_are_left_out_of_a_path() -> None:
    assert resolve(BODY, ("a", "b", "0", "custom", "d")) == ("a", "b", "*", "d")
    assert resolve(BODY, ("a", "b", "1", "d")) is None
    assert resolve(BODY, ("a", "b", "7")) is None
    assert resolve(BODY, ("z",)) is None


def test_places_are_taken_out_and_the_rest_is_shared() -> None:
    before = copy.deepcopy(BODY)
    after = without(BODY, ["a.b.*.c", "zz.y", "e"])
    assert after == {"a": {"b": [{"d": 2}, {}, 5]}, "type": "x"}
    assert before == BODY
    assert without(BODY, ["nothing.here"]) is BODY


def test_overrides_set_and_delete() -> None:
    before = copy.deepcopy(BODY)
    after = overridden(BODY, {"a.b.*.c": 9, "new.deep": [1], "type": None, "e": {"x": 1}, "a.b.0.d": None})
    assert after["new"] == {"deep": [1]}
    assert after["e"] == {"x": 1}
    assert "type" not in after
    assert after["a"]["b"][:2] == [{"c": 9, "d": 2}, {"c": 9}]
    assert before == BODY


_KEYS = st.sampled_from("abc*0")
_JSON = st.recursive(
    st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
)
_PATH = st.lists(st.sampled_from(["a", "b", "*", "0", "7"]), min_size=1, max_size=4).map(".".join)


@given(body=st.dictionaries(st.sampled_from("abc"), _JSON, max_size=3), path=_PATH, value=_JSON)
def test_bodies_that_come_in_never_change(body: dict[str, Any], path: str, value: Any) -> None:
    before = copy.deepcopy(body)
    after = without(body, [path])
    assert body == before
    assert without(after, [path]) == after
    overridden(body, {path: value})
    assert body == before
