"""The JSON form of the API's messages, and the JSON Schema of it, both from the messages' descriptors.

Field names are those of the `.proto` files. Durations are seconds, timestamps RFC 3339 in UTC, enum values their lower
case names without the prefix (`completed`), 64-bit integers plain numbers. What is absent or unspecified is null; every
field is there. Of a oneof, the chosen field is there and the oneof's own name holds that field's name.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

# Descriptors are typed Any: the stubs name two families of classes for them, by the backend of protobuf.
_TIMESTAMP = "google.protobuf.Timestamp"
_DURATION = "google.protobuf.Duration"


def to_json(message: Message) -> dict[str, Any]:
    """`message` as what `json.dumps` takes."""
    plain: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        oneof = _real_oneof(field)
        if oneof:
            chosen = message.WhichOneof(oneof)
            plain.setdefault(oneof, chosen)
            if chosen != field.name:
                continue
        plain[field.name] = _field_value(message, field)
    return plain


def _field_value(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if _is_map(field):
        return dict(value)
    if field.is_repeated:
        return [_single(field, item) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _single(field, value)


def _single(field: Any, value: Any) -> Any:
    if field.enum_type is not None:
        return enum_name(field.enum_type, value)
    if field.message_type is None:
        return value
    match field.message_type.full_name:
        case name if name == _TIMESTAMP:
            return value.ToJsonString()
        case name if name == _DURATION:
            return value.seconds + value.nanos / 1e9
    return to_json(value)


def enum_numbers(enum: Any) -> dict[str, int]:
    """Numbers of an enum's values by short name: `completed` for OUTCOME_COMPLETED; without the unspecified one."""
    words = "".join("_" + letter if letter.isupper() else letter for letter in enum.name)
    prefix = words.lstrip("_").upper() + "_"
    return {value.name.removeprefix(prefix).lower(): value.number for value in enum.values if value.number}


def enum_name(enum: Any, number: int) -> str | None:
    """Short name of an enum's value; None for the unspecified one."""
    if number == 0:
        return None
    return next((name for name, known in enum_numbers(enum).items() if known == number), f"unknown_{number}")


def _real_oneof(field: Any) -> str:
    # An `optional` field is a oneof of its own, by the name of the field with an underscore before it.
    oneof = field.containing_oneof
    return "" if oneof is None or oneof.name == f"_{field.name}" else oneof.name


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def json_schema(*messages: type[Message]) -> dict[str, Any]:
    """JSON Schema (2020-12) whose `$defs` hold `messages` and all that they hold."""
    definitions: dict[str, Any] = {}
    for message in messages:
        _define(message.DESCRIPTOR, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What codexctl --json prints",
        "$defs": dict(sorted(definitions.items())),
    }


def _define(message: Any, definitions: dict[str, Any]) -> None:
    if message.name in definitions:
        return
    properties: dict[str, Any] = {}
    required: list[str] = []
    definitions[message.name] = {"type": "object", "properties": properties, "additionalProperties": False}
    for field in message.fields:
        oneof = _real_oneof(field)
        if oneof:
            names = [member.name for member in field.containing_oneof.fields]
            properties[oneof] = {"enum": [*names, None]}
        properties[field.name] = _field_schema(field, definitions)
        required.append(oneof or field.name)
    definitions[message.name]["required"] = list(dict.fromkeys(required))


def _field_schema(field: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if _is_map(field):
        return {"type": "object", "additionalProperties": {"type": "string"}}
    single = _single_schema(field, definitions)
    if field.is_repeated:
        return {"type": "array", "items": single}
    if not field.has_presence or _real_oneof(field):
        return single
    return {"anyOf": [single, {"type": "null"}]}


def _single_schema(field: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if field.enum_type is not None:
        return {"enum": [*enum_numbers(field.enum_type), None]}
    if field.message_type is not None:
        match field.message_type.full_name:
            case name if name == _TIMESTAMP:
                return {"type": "string", "format": "date-time"}
            case name if name == _DURATION:
                return {"type": "number"}
        _define(field.message_type, definitions)
        return {"$ref": f"#/$defs/{field.message_type.name}"}
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            return {"type": "string"}
        case FieldDescriptor.CPPTYPE_BOOL:
            return {"type": "boolean"}
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return {"type": "number"}
        case _:
            return {"type": "integer"}
