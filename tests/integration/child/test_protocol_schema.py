"""Our subset of the protocol is the installed Codex's; when it is not, the test names what differs."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.child.schema_differences import Difference, differences, load
from tests.support.codex_home import codex_home_below

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def schema(real_codex: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The schema that the installed Codex generates."""
    out = tmp_path_factory.mktemp("schema")
    with codex_home_below() as home:
        subprocess.run(
            [real_codex, "app-server", "generate-json-schema", "--experimental", "--out", out],
            env=home.environment(),
            check=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
    return dict(load((out / "codex_app_server_protocol.schemas.json").read_bytes()))


@pytest.mark.real_codex
def test_the_installed_codex_speaks_our_subset(schema: dict[str, Any]) -> None:
    found = differences(schema)
    assert not found, "this Codex differs from supervisor/codex_supervisor/child/protocol.py:\n" + "\n".join(
        f"  {difference}" for difference in found
    )


def properties(schema: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = schema["definitions"]["v2"][name]["properties"]
    return found


def item(schema: dict[str, Any], kind: str) -> dict[str, Any]:
    variants = schema["definitions"]["v2"]["ThreadItem"]["oneOf"]
    found: dict[str, Any] = next(each for each in variants if each["properties"]["type"]["enum"] == [kind])
    return found


def without_method(schema: dict[str, Any], table: str, method: str) -> None:
    variants = schema["definitions"][table]["oneOf"]
    variants[:] = [each for each in variants if each["properties"]["method"]["enum"] != [method]]


@pytest.mark.real_codex
@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (
            lambda schema: without_method(schema, "ClientRequest", "thread/revert"),
            Difference("thread/revert", "", "there is no such method"),
        ),
        (
            lambda schema: without_method(schema, "ServerNotification", "turn/completed"),
            Difference("turn/completed", "", "there is no such method"),
        ),
        (
            lambda schema: without_method(schema, "ServerNotification", "hook/started"),
            Difference("hook/started", "", "there is no such notification to opt out of"),
        ),
        (
            lambda schema: properties(schema, "TurnStartParams").pop("effort"),
            Difference("turn/start", "effort", "there is no such field"),
        ),
        (
            lambda schema: schema["definitions"]["v2"]["TurnInterruptParams"]["required"].append("reason"),
            Difference("turn/interrupt", "reason", "is required, and we do not send it"),
        ),
        (
            lambda schema: properties(schema, "TurnSteerParams").update(expectedTurnId={"type": "integer"}),
            Difference("turn/steer", "expectedTurnId", "must not be string"),
        ),
        (
            lambda schema: properties(schema, "TurnSteerResponse").update(turnId={"type": ["string", "null"]}),
            Difference("turn/steer", "reply.turnId", "may be null"),
        ),
        (
            lambda schema: schema["definitions"]["v2"]["TurnCompletedNotification"]["required"].remove("turn"),
            Difference("turn/completed", "turn", "may be missing"),
        ),
        (
            lambda schema: properties(schema, "Turn").update(items={"type": "object"}),
            Difference("turn/completed", "turn.items", "may be object"),
        ),
        (
            lambda schema: item(schema, "agentMessage")["properties"].pop("text"),
            Difference("ThreadItem", "[agentMessage].text", "there is no such field"),
        ),
        (
            lambda schema: item(schema, "fileChange")["properties"]["type"].update(enum=["patch"]),
            Difference("ThreadItem", "[fileChange]", "there is no such type"),
        ),
        (
            lambda schema: schema["definitions"]["ServerRequest"]["oneOf"].append(
                {"properties": {"method": {"enum": ["item/new/ask"]}, "params": {}}}
            ),
            Difference("item/new/ask", "", "Codex may ask this, and we always refuse"),
        ),
    ],
)
def test_a_difference_is_named(schema: dict[str, Any], change: Change, difference: Difference) -> None:
    changed = copy.deepcopy(schema)
    change(changed)
    assert difference in differences(changed)
    assert str(difference).startswith(difference.method)
