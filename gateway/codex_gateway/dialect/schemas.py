"""JSON schemas of tools, in the form that every endpoint takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codex_gateway.dialect.neutral import JsonObject

_JOINS = ("anyOf", "oneOf", "allOf")


def object_schema(schema: JsonObject | None) -> JsonObject:
    """The schema of an object; an empty one where none was given."""
    if not schema:
        return {"type": "object", "properties": {}}
    if schema.get("type") == "object":
        return schema if "properties" in schema else {**schema, "properties": {}}
    return {**schema, "type": "object", "properties": schema.get("properties") or {}}


def plain_root(schema: JsonObject | None, depth: int = 4) -> JsonObject:
    """The schema of an object without `$ref`, `anyOf`, `oneOf` and `allOf` at its root, which Anthropic refuses.

    Alternatives become one object: the properties of all, and as required what all require. Alternatives of
    alternatives are followed `depth` steps.
    """
    if not schema:
        return object_schema(None)
    root = _resolved(schema, schema)
    if depth == 0 or not any(join in root for join in _JOINS):
        return object_schema({key: value for key, value in root.items() if key not in _JOINS})
    properties: JsonObject = dict(root.get("properties") or {})
    required: set[str] = set(root.get("required") or ())
    for join in _JOINS:
        branches = [_resolved(branch, schema) for branch in root.get(join) or () if isinstance(branch, dict)]
        flat = [plain_root({**branch, **_definitions(schema)}, depth - 1) for branch in branches if _is_object(branch)]
        for branch in flat:
            for name, value in branch["properties"].items():
                known = properties.get(name)
                if known is None or known == value or join == "allOf":
                    properties[name] = value
                else:
                    variants = known["anyOf"] if isinstance(known, dict) and set(known) == {"anyOf"} else [known]
                    properties[name] = known if value in variants else {"anyOf": [*variants, value]}
        needs = [set(branch.get("required") or ()) for branch in flat]
        if join == "allOf":
            required.update(*needs)
        elif needs and len(flat) == len(branches):
            required |= set.intersection(*needs)
    out = {key: value for key, value in root.items() if key not in _JOINS}
    out |= {"type": "object", "properties": properties}
    if required:
        out["required"] = sorted(required)
    return out


def _is_object(branch: JsonObject) -> bool:
    return bool(branch.get("type", "object") == "object")


def _definitions(schema: JsonObject) -> JsonObject:
    return {key: schema[key] for key in ("$defs", "definitions") if key in schema}


def _resolved(schema: JsonObject, root: JsonObject) -> JsonObject:
    """`schema` with a `$ref` at its own root followed (a few steps: a circle must end)."""
    for _ in range(8):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return schema
        target: object = root
        for step in reference[2:].split("/"):
            target = target.get(step) if isinstance(target, dict) else None
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        if not isinstance(target, dict):
            return rest
        schema = {**target, **rest}
    return {key: value for key, value in schema.items() if key != "$ref"}
