"""Settings as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from codex_control.errors import BadInput
from codex_control.v1 import instances_pb2 as ipb
from codexctl.setting_names import SETTINGS
from codexctl.setting_values import configure_request, known_key


def test_the_keys_are_those_of_the_api() -> None:
    assert set(SETTINGS) == {field.name for field in ipb.Settings.DESCRIPTOR.fields}


def test_the_nearest_right_name_is_said() -> None:
    assert known_key("show-reasoning") == "show_reasoning"
    with pytest.raises(BadInput, match="Did you mean approval_policy"):
        known_key("aproval_policy")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("profile", "mine", ipb.ConfigureRequest(profile="mine")),
        ("show_reasoning", "on", ipb.ConfigureRequest(show_reasoning=True)),
        ("final_only", "false", ipb.ConfigureRequest(final_only=False)),
        ("approval_policy", "deny", ipb.ConfigureRequest(approval_policy=ipb.APPROVAL_POLICY_DENY)),
        ("on_interrupted", "REPLAY", ipb.ConfigureRequest(on_interrupted=ipb.ON_INTERRUPTED_REPLAY)),
    ],
)
def test_values(key: str, value: str, expected: ipb.ConfigureRequest) -> None:
    assert configure_request(key, value) == expected


def test_a_directory_has_to_exist(tmp_path: Path) -> None:
    assert configure_request("cwd", str(tmp_path)).cwd == str(tmp_path)
    with pytest.raises(BadInput, match="no such directory"):
        configure_request("cwd", str(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("approval_policy", "interctive", "Did you mean interactive"),
        ("on_interrupted", "x", "continue, replay, report"),
        ("final_only", "maybe", "true or false"),
    ],
)
def test_wrong_values_are_refused(key: str, value: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        configure_request(key, value)
