"""Writes a configuration as YAML: what differs from the defaults, in the order of the model."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml
from codex_control.service.config_key import Kind, format_duration, format_size, keys_of


def values_to_write(struct: msgspec.Struct) -> dict[str, Any]:
    """Return the values of a section that differ from the defaults; durations and sizes as people write them."""
    values: dict[str, Any] = {}
    for key in keys_of(type(struct)):
        value = getattr(struct, key.name)
        if value == key.default:
            continue
        match key.description.kind:
            case Kind.SECTION:
                values[key.name] = values_to_write(value)
            case Kind.SECTIONS:
                values[key.name] = [values_to_write(one) for one in value]
            case Kind.SECONDS:
                values[key.name] = format_duration(value)
            case Kind.BYTES:
                values[key.name] = format_size(value)
            case _:
                values[key.name] = msgspec.to_builtins(value)
    return values


def write_yaml(values: Any) -> str:
    """Return plain values as YAML in block style, keys in their order."""
    return str(
        yaml.dump(values, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=10_000, default_flow_style=False)
    )


class _Plain(yaml.SafeDumper):
    """Writes a value out wherever it stands: our own reader refuses anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (the base class hands it in)
        return True


def write_config(struct: msgspec.Struct) -> str:
    """Return a whole configuration as the text of a file; empty where it is all defaults."""
    values = values_to_write(struct)
    return write_yaml(values) if values else ""
