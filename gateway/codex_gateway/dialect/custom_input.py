"""A custom tool's free text inside the arguments of a function: `{"input": "…"}`."""

from __future__ import annotations

import re
from typing import Final

import msgspec

_BEGIN: Final = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_MAX_BEGIN: Final = 64
"""More characters than any sane beginning."""
_STRING: Final = re.compile(
    r'(?:[^"\\]|\\(?:[^u]|u(?![dD][89abAB])[0-9a-fA-F]{4}|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))*'
)
"""As much of a JSON string's inside as is whole: no half escape, no half character."""


def wrapped(text: str) -> str:
    """`text` as the arguments of a function."""
    return msgspec.json.encode({"input": text}).decode()


class CustomInput:
    """Takes the text out, fragment by fragment.

    Arguments in another form than the expected one are given whole at the end: the value of the only field, or the
    arguments as they are.
    """

    __slots__ = ("_all", "_begun", "_closed", "_held", "_said")

    def __init__(self) -> None:
        self._all: list[str] = []
        self._held = ""
        self._begun = False
        self._closed = False
        self._said = 0

    def feed(self, fragment: str) -> str:
        """What `fragment` adds to the text."""
        self._all.append(fragment)
        if self._closed:
            return ""
        held = self._held + fragment
        if not self._begun:
            begin = _BEGIN.match(held)
            if begin is None:
                self._held = held
                self._closed = len(held) > _MAX_BEGIN
                return ""
            self._begun = True
            held = held[begin.end() :]
        inside = _STRING.match(held)
        end = 0 if inside is None else inside.end()
        self._held = held[end:]
        self._closed = self._held.startswith('"')
        text = _decoded(held[:end])
        if text is None:
            self._closed = True
            return ""
        self._said += len(text)
        return text

    def end(self) -> str:
        """What was not said yet."""
        said = self._said
        arguments = "".join(self._all)
        try:
            value = msgspec.json.decode(arguments) if arguments.strip() else ""
        except msgspec.MsgspecError:
            # Cut off in the middle, or no JSON at all.
            return "" if said or self._begun else arguments
        if isinstance(value, dict):
            value = value.get("input", next(iter(value.values()), "") if len(value) < 2 else arguments)
        text = value if isinstance(value, str) else arguments
        return text[said:]


def _decoded(inside: str) -> str | None:
    if "\\" not in inside and inside.isprintable():
        return inside
    try:
        # Models write raw line ends into strings, which JSON forbids and everybody understands.
        raw = inside.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
        return str(msgspec.json.decode(f'"{raw}"'))
    except msgspec.MsgspecError:
        return None
