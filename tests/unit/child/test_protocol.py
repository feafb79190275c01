"""How requests look on the wire, and how Codex's messages are read."""

from __future__ import annotations

import msgspec
import pytest
from codex_supervisor.child import protocol


def wire(value: object) -> str:
    return msgspec.json.encode(value).decode()


def test_a_turn_says_only_what_is_set() -> None:
    params = protocol.TurnStartParams(
        thread_id="t",
        input=[protocol.TextInput(text="hi"), protocol.LocalImageInput(path="/a.png")],
        client_user_message_id="c",
        output_schema={"type": "object"},
    )
    assert wire(params) == (
        '{"threadId":"t","input":[{"type":"text","text":"hi"},{"type":"localImage","path":"/a.png"}],'
        '"clientUserMessageId":"c","outputSchema":{"type":"object"}}'
    )


def test_an_empty_input_is_sent() -> None:
    assert wire(protocol.TurnStartParams(thread_id="t", input=[])) == '{"threadId":"t","input":[]}'


def test_collaboration_settings_keep_their_underscores() -> None:
    settings = protocol.CollaborationSettings(model="m", developer_instructions="d", reasoning_effort="low")
    assert wire(protocol.CollaborationMode(mode="default", settings=settings)) == (
        '{"mode":"default","settings":{"model":"m","reasoning_effort":"low","developer_instructions":"d"}}'
    )


@pytest.mark.parametrize(
    ("info", "kind", "http_status"),
    [
        ('"usageLimitExceeded"', "usageLimitExceeded", None),
        ('{"httpConnectionFailed":{"httpStatusCode":401}}', "httpConnectionFailed", 401),
        ('{"responseStreamDisconnected":{"httpStatusCode":null}}', "responseStreamDisconnected", None),
        ('{"activeTurnNotSteerable":{"turnKind":"review"}}', "activeTurnNotSteerable", None),
        ("{}", "", None),
        ("null", "", None),
    ],
)
def test_error_kinds(info: str, kind: str, http_status: int | None) -> None:
    error = msgspec.json.decode(f'{{"message":"m","codexErrorInfo":{info}}}', type=protocol.TurnError)
    assert (error.kind, error.http_status) == (kind, http_status)


def test_a_turn_decodes_its_items_when_asked() -> None:
    text = (
        '{"threadId":"t","turn":{"id":"u","status":"completed","error":null,"durationMs":3,'
        '"items":[{"type":"agentMessage","id":"m","text":"a"},{"type":"unheardOf","id":"x"}]}}'
    )
    notification = msgspec.json.decode(text, type=protocol.TurnCompletedNotification)
    assert notification.turn.decode_items() == [
        protocol.AgentMessageItem(id="m", text="a"),
        protocol.OtherItem(id="x", type="unheardOf"),
    ]


def test_nothing_is_both_used_and_opted_out_of() -> None:
    assert not set(protocol.UNUSED_NOTIFICATIONS) & set(protocol.NOTIFICATIONS)
