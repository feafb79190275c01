"""Checks a setting's name and value before they are sent."""

from __future__ import annotations

from codex_control.errors import BadInput
from codex_control.v1.instances_pb2 import ConfigureRequest

from codexctl.json_form import enum_numbers
from codexctl.prompt_input import checked_directory
from codexctl.setting_names import SETTINGS

_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def known_key(key: str) -> str:
    """`key` as the settings know it; raises `BadInput` with the nearest right name."""
    name = key.replace("-", "_").lower()
    if name in SETTINGS:
        return name
    raise BadInput(f"there is no setting '{key}'", next_step=_nearest(name, SETTINGS))


def configure_request(key: str, value: str) -> ConfigureRequest:
    """A request that sets `key`; raises `BadInput` for a value that it cannot have.

    Names of profiles are not checked here: the service knows them.
    """
    field = ConfigureRequest.DESCRIPTOR.fields_by_name[key]
    request = ConfigureRequest()
    if field.enum_type is not None:
        names = enum_numbers(field.enum_type)
        if value.lower() not in names:
            raise BadInput(f"'{value}' is no {key}", next_step=_nearest(value.lower(), names))
        setattr(request, key, names[value.lower()])
    elif field.cpp_type == field.CPPTYPE_BOOL:
        if value.lower() not in _BOOLEANS:
            raise BadInput(f"'{value}' is no value of {key}", next_step="write true or false")
        setattr(request, key, _BOOLEANS[value.lower()])
    elif key == "cwd":
        request.cwd = checked_directory(value)
    else:
        setattr(request, key, value)
    return request


def _nearest(name: str, known: object) -> str:
    from difflib import get_close_matches

    names = list(known)  # type: ignore[call-overload] # any collection of names
    near = get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}? The names are {', '.join(names)}" if near else f"the names are {', '.join(names)}"
