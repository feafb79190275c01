"""The JSON form of messages, and that its schema describes it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from codex_control.v1 import turns_pb2 as tpb
from codex_control.v1.admin_pb2 import LogsResponse
from codex_control.v1.instances_pb2 import Instance
from codex_control.v1.outcome_pb2 import CAUSE_TIMED_OUT, OUTCOME_FAILED
from codexctl.json_form import enum_name, json_schema, to_json
from codexctl.json_schema import PRINTED, printed_schema
from google.protobuf.message import Message

SCHEMA_FILE = Path(__file__).parents[3] / "docs" / "codexctl.schema.json"


def test_names_numbers_and_times() -> None:
    turn = tpb.Turn(id="t1", outcome=OUTCOME_FAILED, cause=CAUSE_TIMED_OUT, state=tpb.TURN_STATE_ENDED)
    turn.timings.total.FromMilliseconds(1500)
    turn.usage.input = 2**40
    turn.accepted_at.FromJsonString("2025-11-21T10:00:00.250Z")
    turn.commands.add(command="ls", exit_code=0)
    turn.commands.add(command="cut off")
    plain = to_json(turn)
    assert plain["outcome"] == "failed"
    assert plain["cause"] == "timed_out"
    assert plain["timings"] == {"queued": None, "first_event": None, "first_text": None, "total": 1.5}
    assert plain["usage"]["input"] == 2**40
    assert plain["accepted_at"] == "2025-11-21T10:00:00.250Z"
    assert plain["ended_at"] is None
    assert [command["exit_code"] for command in plain["commands"]] == [0, None]


def test_only_the_chosen_field_of_an_event_is_there() -> None:
    event = tpb.TurnEvent(turn_id="t1", seq=3, text=tpb.TextDelta(item_id="m", text="hi"))
    assert to_json(event) == {
        "turn_id": "t1",
        "seq": 3,
        "at": None,
        "event": "text",
        "text": {"item_id": "m", "text": "hi"},
    }


def test_unspecified_enums_are_null_and_maps_are_objects() -> None:
    assert to_json(Instance())["state"] is None
    assert to_json(LogsResponse(fields={"pid": "1"}))["fields"] == {"pid": "1"}


def test_a_value_of_a_newer_service_has_a_name() -> None:
    assert enum_name(tpb.TurnState.DESCRIPTOR, 99) == "unknown_99"


def filled(message: type[Message], depth: int = 3) -> Message:
    """A message in which every field that can be is set."""
    made = message()
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(made, field.name)["key"] = "value"
        elif field.message_type is not None:
            if depth == 0:
                continue
            value = getattr(made, field.name)
            nested = filled(type(value.add() if field.is_repeated else value), depth - 1)
            (value[0] if field.is_repeated else value).CopyFrom(nested)
        else:
            scalar = 1 if field.enum_type is not None else {"str": "x", "bool": True}.get(_python(field), 7)
            if field.is_repeated:
                getattr(made, field.name).append(scalar)
            else:
                setattr(made, field.name, scalar)
    return made


def _python(field: object) -> str:
    kinds = {9: "str", 8: "bool"}
    return kinds.get(field.type, "int")  # type: ignore[attr-defined] # a field descriptor


@pytest.mark.parametrize("message", PRINTED, ids=lambda message: message.DESCRIPTOR.name)
@pytest.mark.parametrize("make", [filled, lambda message: message()], ids=["full", "empty"])
def test_the_schema_describes_every_message(message: type[Message], make: object) -> None:
    schema = json_schema(message) | {"$ref": f"#/$defs/{message.DESCRIPTOR.name}"}
    plain = to_json(make(message))  # type: ignore[operator] # one of the two above
    jsonschema.validate(json.loads(json.dumps(plain)), schema)


def test_the_schema_refuses_what_is_not_printed() -> None:
    schema = json_schema(tpb.Turn) | {"$ref": "#/$defs/Turn"}
    plain = to_json(tpb.Turn())
    for wrong in (
        {**plain, "outcome": "finished"},
        {**plain, "other": 1},
        {k: v for k, v in plain.items() if k != "id"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_the_documented_schema_is_the_one_that_is_printed() -> None:
    # Written anew with: python -m codexctl.json_schema > docs/codexctl.schema.json
    assert json.loads(SCHEMA_FILE.read_text()) == printed_schema()
