"""Where our subset of the app-server protocol differs from the JSON schema that a Codex generates.

What Codex sends must fit our structs: every kind of value that its schema allows, and nothing that we need may be
missing. What we send must fit the schema: no field that it does not know, none left out that it needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from codex_supervisor.child.items import KnownItem
from codex_supervisor.child.protocol import NOTIFICATIONS, REQUESTS, SERVER_REQUESTS, UNUSED_NOTIFICATIONS, Empty
from msgspec import inspect

Schema = Mapping[str, Any]
Direction = Literal["in", "out"]

EVERYTHING = frozenset({"null", "boolean", "string", "number", "array", "object"})


@dataclass(frozen=True)
class Difference:
    """One thing that is not as we think; `field` is empty where the whole method or type is meant."""

    method: str
    field: str
    what: str

    def __str__(self) -> str:
        return f"{self.method}{' ' + self.field if self.field else ''}: {self.what}"


def differences(schema: Schema) -> list[Difference]:
    """Compare all that we use with `schema`, the content of codex_app_server_protocol.schemas.json."""
    return list(_Comparison(schema).run())


class _Comparison:
    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        definitions = schema["definitions"]
        self._named: dict[str, Any] = {**definitions, **definitions.get("v2", {})}

    def run(self) -> Iterator[Difference]:
        asked, told, asking = (self._methods(name) for name in ("ClientRequest", "ServerNotification", "ServerRequest"))
        for method, (params, response) in REQUESTS.items():
            yield from self._message(method, asked, params, "out")
            yield from self._response(method, response, "in")
        for method, kind in NOTIFICATIONS.items():
            yield from self._message(method, told, kind, "in")
        for method, (question, answer) in SERVER_REQUESTS.items():
            yield from self._message(method, asking, question, "in")
            yield from self._response(method, answer, "out")
        for method in sorted({*asking} - {*SERVER_REQUESTS} - NEVER_ASKED):
            yield Difference(method, "", "Codex may ask this, and we always refuse")
        for method in UNUSED_NOTIFICATIONS:
            if method not in told:
                yield Difference(method, "", "there is no such notification to opt out of")
        yield from self._type("ThreadItem", "", inspect.type_info(KnownItem), self._named["ThreadItem"], "in")

    def _methods(self, name: str) -> dict[str, Schema]:
        variants = self._named[name]["oneOf"]
        return {variant["properties"]["method"]["enum"][0]: variant["properties"] for variant in variants}

    def _message(
        self, method: str, known: Mapping[str, Schema], struct: type, direction: Direction
    ) -> Iterator[Difference]:
        if method not in known:
            yield Difference(method, "", "there is no such method")
            return
        yield from self._type(method, "", inspect.type_info(struct), known[method].get("params", {}), direction)

    def _response(self, method: str, struct: type, direction: Direction) -> Iterator[Difference]:
        if struct is Empty:
            return
        if struct.__name__ not in self._named:
            yield Difference(method, "", f"there is no {struct.__name__}")
            return
        yield from self._type(method, "reply", inspect.type_info(struct), self._named[struct.__name__], direction)

    def _type(
        self, method: str, field: str, ours: inspect.Type, theirs: Schema | bool, direction: Direction
    ) -> Iterator[Difference]:
        """Compare one value: its kinds, then what is in it."""
        our_types = list(_flat(ours))
        variants = list(self._variants(theirs))
        our_kinds = frozenset().union(*(_kinds(each) for each in our_types))
        their_kinds = frozenset().union(*(_schema_kinds(variant) for variant in variants))
        if direction == "out":
            our_kinds -= {"null"}  # what is None is left out
        wrong = their_kinds - our_kinds if direction == "in" else our_kinds - their_kinds
        if wrong:
            verb = "may be" if direction == "in" else "must not be"
            yield Difference(method, field, f"{verb} {' or '.join(sorted(wrong))}")
        structs = [each for each in our_types if isinstance(each, inspect.StructType)]
        objects = [variant for variant in variants if "object" in _schema_kinds(variant)]
        for struct in structs:
            if struct.tag_field is not None:
                matching = [variant for variant in objects if _tag(variant, struct.tag_field) == struct.tag]
                name = f"{field}[{struct.tag}]"
                if not matching:
                    yield Difference(method, name, "there is no such type")
                    continue
                yield from self._struct(method, name, struct, matching, direction)
            elif objects and our_kinds != EVERYTHING:
                yield from self._struct(method, field, struct, objects, direction)
        for items in (each.item_type for each in our_types if isinstance(each, inspect.ListType)):
            for variant in variants:
                if "items" in variant:
                    yield from self._type(method, f"{field}[]", items, variant["items"], direction)

    def _struct(
        self, method: str, field: str, struct: inspect.StructType, variants: list[Schema], direction: Direction
    ) -> Iterator[Difference]:
        properties: dict[str, Any] = {}
        for variant in variants:
            properties |= variant.get("properties", {})
        required = set.intersection(*(set(variant.get("required", ())) for variant in variants))
        for ours in struct.fields:
            name = f"{field}.{ours.encode_name}" if field else ours.encode_name
            if ours.encode_name not in properties:
                yield Difference(method, name, "there is no such field")
                continue
            if direction == "in" and ours.required and ours.encode_name not in required:
                yield Difference(method, name, "may be missing")
            yield from self._type(method, name, ours.type, properties[ours.encode_name], direction)
        if direction == "out":
            sent = {ours.encode_name for ours in struct.fields} | {struct.tag_field}
            for missing in sorted(required - sent):
                yield Difference(
                    method, f"{field}.{missing}" if field else missing, "is required, and we do not send it"
                )

    def _variants(self, schema: Schema | bool) -> Iterator[Schema]:
        """Resolve references and alternatives; what stands beside alternatives belongs to each of them."""
        if isinstance(schema, bool):
            yield {}
            return
        if "$ref" in schema:
            target: Any = self._schema
            for step in schema["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            yield from self._variants(target)
            return
        alternatives = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
        if not alternatives:
            yield schema
            return
        for alternative in alternatives:
            for variant in self._variants(alternative):
                yield {
                    **variant,
                    **({"type": schema["type"]} if "type" in schema else {}),
                    "properties": {**schema.get("properties", {}), **variant.get("properties", {})},
                    "required": [*schema.get("required", ()), *variant.get("required", ())],
                }


NEVER_ASKED = frozenset(
    {
        # Only asked of a client that said it can (initialize), or that logged in with its own tokens: we do neither.
        "attestation/generate",
        "account/chatgptAuthTokens/refresh",
        "currentTime/read",
        # Of the protocol's first version.
        "applyPatchApproval",
        "execCommandApproval",
    }
)


def _flat(ours: inspect.Type) -> Iterator[inspect.Type]:
    if isinstance(ours, inspect.UnionType):
        for each in ours.types:
            yield from _flat(each)
    else:
        yield ours


def _kinds(ours: inspect.Type) -> frozenset[str]:
    match ours:
        case inspect.StrType():
            return frozenset({"string"})
        case inspect.BoolType():
            return frozenset({"boolean"})
        case inspect.IntType() | inspect.FloatType():
            return frozenset({"number"})
        case inspect.NoneType():
            return frozenset({"null"})
        case inspect.ListType():
            return frozenset({"array"})
        case inspect.DictType() | inspect.StructType():
            return frozenset({"object"})
        case inspect.AnyType() | inspect.RawType():
            return EVERYTHING
        case _:
            raise NotImplementedError(ours)


def _schema_kinds(theirs: Schema) -> frozenset[str]:
    kinds = theirs.get("type")
    if kinds is None:
        return frozenset({"object"}) if theirs.get("properties") else EVERYTHING
    listed = [kinds] if isinstance(kinds, str) else kinds
    return frozenset("number" if kind == "integer" else kind for kind in listed)


def _tag(variant: Schema, tag_field: str) -> str | None:
    words = variant.get("properties", {}).get(tag_field, {}).get("enum")
    return words[0] if words else None


def load(text: bytes) -> Schema:
    """Read a generated schema."""
    loaded: Schema = msgspec.json.decode(text)
    return loaded
