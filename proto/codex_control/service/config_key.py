"""How a key of the configuration describes itself, beside its field: one constructor for each kind of value.

The parser checks by these descriptions and the reference page is generated from them.
"""

from __future__ import annotations

import enum
import functools
import re
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

import msgspec


class Applies(enum.Enum):
    """When a changed value takes effect."""

    RELOAD = "on reload"
    """At once, for whatever is decided from then on."""
    NEW_CHILDREN = "on reload, for children started from then on"
    """A running child keeps what it was started with."""
    NEW_TURNS = "on reload, for turns accepted from then on"
    """A running or queued turn keeps what it was accepted with."""
    RESTART = "after a restart of the service"
    """The service reads it once, at its start."""


class Kind(enum.Enum):
    """What is written for a key."""

    SECONDS = "duration"
    BYTES = "size"
    COUNT = "whole number"
    SWITCH = "true or false"
    TEXT = "text"
    TEXTS = "list of texts"
    NUMBER = "number"
    TEXT_MAP = "texts by name"
    VALUES = "values by name"
    SECTION = "section"
    SECTIONS = "list of sections"
    NAMED = "sections by name"


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a field says about itself. Bounds are in the field's own unit and include their ends."""

    kind: Kind
    text: str
    applies: Applies = Applies.RELOAD
    minimum: float | None = None
    maximum: float | None = None
    zero_means: str = ""
    """What 0 means where it is allowed although it is below `minimum`; empty where it is an ordinary value."""
    max_length: int | None = None
    """Most characters of a text, or of each text of a list."""
    most: int | None = None
    """Most elements of a list or a map."""
    pattern: str = ""
    """Regular expression that each text matches in full."""
    pattern_means: str = ""
    """The pattern in words, to follow 'expected'."""
    secret: bool = False
    """Whether it may hold a secret: it is then never shown."""


Seconds = float
"""A duration in seconds. Written `250ms`, `30s`, `15m`, `1h30m`, `7d`, or as a number of seconds."""

Bytes = int
"""A size in bytes. Written `512MiB`, `1MB`, or as a number of bytes."""


def duration(
    text: str, minimum: float, maximum: float, *, zero_means: str = "", applies: Applies = Applies.RELOAD
) -> Description:
    """Describe a duration; bounds in seconds."""
    return Description(
        kind=Kind.SECONDS, text=text, minimum=minimum, maximum=maximum, zero_means=zero_means, applies=applies
    )


def size(
    text: str, minimum: int, maximum: int, *, zero_means: str = "", applies: Applies = Applies.RELOAD
) -> Description:
    """Describe a size; bounds in bytes."""
    return Description(
        kind=Kind.BYTES, text=text, minimum=minimum, maximum=maximum, zero_means=zero_means, applies=applies
    )


def count(
    text: str, minimum: int, maximum: int, *, zero_means: str = "", applies: Applies = Applies.RELOAD
) -> Description:
    """Describe a whole number."""
    return Description(
        kind=Kind.COUNT, text=text, minimum=minimum, maximum=maximum, zero_means=zero_means, applies=applies
    )


def switch(text: str, *, applies: Applies = Applies.RELOAD) -> Description:
    """Describe a boolean."""
    return Description(kind=Kind.SWITCH, text=text, applies=applies)


def text(
    text: str,
    *,
    max_length: int | None = None,
    pattern: str = "",
    pattern_means: str = "",
    secret: bool = False,
    applies: Applies = Applies.RELOAD,
) -> Description:
    """Describe a text, or a choice where the field's type is an enum."""
    return Description(
        kind=Kind.TEXT,
        text=text,
        max_length=max_length,
        pattern=pattern,
        pattern_means=pattern_means,
        secret=secret,
        applies=applies,
    )


def texts(
    text: str, *, max_length: int, pattern: str, pattern_means: str, applies: Applies = Applies.RELOAD
) -> Description:
    """Describe a list of texts; the bounds are those of each text."""
    return Description(
        kind=Kind.TEXTS,
        text=text,
        max_length=max_length,
        pattern=pattern,
        pattern_means=pattern_means,
        applies=applies,
    )


def number(text: str, minimum: float, maximum: float, *, applies: Applies = Applies.RELOAD) -> Description:
    """Describe a number that may have decimals."""
    return Description(kind=Kind.NUMBER, text=text, minimum=minimum, maximum=maximum, applies=applies)


def choices(text: str, *, applies: Applies = Applies.RELOAD) -> Description:
    """Describe a list of choices; the field's type is a tuple of an enum."""
    return Description(kind=Kind.TEXTS, text=text, applies=applies)


def text_map(
    text: str, *, max_length: int, pattern: str, pattern_means: str, most: int, applies: Applies = Applies.RELOAD
) -> Description:
    """Describe texts by name, where null is allowed too; pattern and meaning are those of the names."""
    return Description(
        kind=Kind.TEXT_MAP,
        text=text,
        max_length=max_length,
        pattern=pattern,
        pattern_means=pattern_means,
        most=most,
        secret=True,
        applies=applies,
    )


def values(text: str, *, pattern: str, pattern_means: str, most: int, applies: Applies = Applies.RELOAD) -> Description:
    """Describe values of any JSON type by name; pattern and meaning are those of the names."""
    return Description(
        kind=Kind.VALUES, text=text, pattern=pattern, pattern_means=pattern_means, most=most, applies=applies
    )


def section(text: str) -> Description:
    """Describe a section."""
    return Description(kind=Kind.SECTION, text=text)


def sections(text: str, *, most: int, applies: Applies = Applies.RELOAD) -> Description:
    """Describe a list of sections; the field's type is a tuple of a model."""
    return Description(kind=Kind.SECTIONS, text=text, most=most, applies=applies)


def named(text: str, *, applies: Applies = Applies.RELOAD) -> Description:
    """Describe sections by name; the field's type is a mapping of a model."""
    return Description(kind=Kind.NAMED, text=text, applies=applies)


_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:[0-9]{1,12}(?:\.[0-9]{1,9})?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"([0-9.]+)(ms|s|m|h|d)")
_BYTES = {
    "": 1,
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KIB": 1024,
    "MIB": 1024**2,
    "GIB": 1024**3,
    "TIB": 1024**4,
}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([KMGT]?i?B|)", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")


def parse_duration(written: str) -> Seconds | None:
    """Read a duration as people write it; None where it is none."""
    if _NUMBER.fullmatch(written):
        return float(written)
    if not _DURATION.fullmatch(written):
        return None
    # Decimal fractions of a unit are rounded to the microsecond, so that 0.1 + 0.2 seconds are 0.3.
    return round(sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(written)), 6)


def parse_size(written: str) -> Bytes | None:
    """Read a size as people write it; None where it is none. `KB` is 1000 bytes, `KiB` 1024."""
    match = _SIZE.fullmatch(written)
    if match is None:
        return None
    number, unit = match.groups()
    # Whole numbers stay exact beyond 2**53.
    return round(float(number) * _BYTES[unit.upper()]) if "." in number else int(number) * _BYTES[unit.upper()]


def format_duration(seconds: Seconds) -> str:
    """Write a duration so that `parse_duration` reads the same again: `1h30m`, `250ms`, `0s`."""
    milliseconds = seconds * 1000
    if seconds < 1 and milliseconds == int(milliseconds) and seconds:
        return f"{int(milliseconds)}ms"
    if seconds != int(seconds):
        return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"
    rest = int(seconds)
    parts = []
    for unit in ("d", "h", "m", "s"):
        whole, rest = divmod(rest, int(_SECONDS[unit]))
        if whole:
            parts.append(f"{whole}{unit}")
    return "".join(parts) or "0s"


def format_size(size: Bytes) -> str:
    """Write a size in the largest unit that keeps it exact: `512MiB`, `1MB`, `1000`."""
    if not size:
        return "0"
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size % _BYTES[unit.upper()] == 0:
            return f"{size // _BYTES[unit.upper()]}{unit}"
    for unit in ("TB", "GB", "MB"):
        if size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return str(size)


@dataclass(frozen=True, kw_only=True)
class Key:
    """One field of the model with what it says about itself."""

    name: str
    """The attribute's name, which is the key's."""
    description: Description
    default: Any
    choices: type[enum.StrEnum] | None
    """The enum of a choice, or of each choice of a list."""
    section: type[msgspec.Struct] | None
    """The model of a section, or of each section of a list."""

    def format(self, value: Any) -> str:
        """Write one value as YAML that is read as the same value again."""
        match self.description.kind:
            case Kind.SECONDS:
                return format_duration(value)
            case Kind.BYTES:
                return format_size(value)
            case Kind.SWITCH:
                return "true" if value else "false"
            case Kind.COUNT:
                return str(value)
            case Kind.NUMBER:
                return f"{value:.9f}".rstrip("0").rstrip(".")
            case Kind.TEXTS:
                return f"[{', '.join(format_text(item) for item in value)}]"
            case Kind.TEXT_MAP | Kind.VALUES:
                # JSON is YAML.
                return msgspec.json.encode(value).decode()
            case Kind.TEXT:
                return format_text(str(value))
            case Kind.SECTION | Kind.SECTIONS | Kind.NAMED:
                raise TypeError(f"{self.name} is no single value")

    def bounds(self) -> str:
        """The bounds in words; empty where there are none."""
        about = self.description
        parts = []
        if about.minimum is not None and about.maximum is not None:
            low, high = self._unit(about.minimum), self._unit(about.maximum)
            parts.append(f"{low} to {high}" + (f"; 0 means {about.zero_means}" if about.zero_means else ""))
        if about.max_length is not None:
            each = " each" if about.kind in (Kind.TEXTS, Kind.TEXT_MAP) else ""
            parts.append(f"at most {about.max_length:,} characters{each}")
        if about.pattern_means:
            parts.append(about.pattern_means)
        if about.most is not None:
            parts.append(f"at most {about.most:,}")
        return "; ".join(parts)

    def _unit(self, bound: float) -> str:
        match self.description.kind:
            case Kind.SECONDS:
                return format_duration(bound)
            case Kind.BYTES:
                return format_size(int(bound))
            case _:
                return f"{bound:,g}" if bound < 1e6 else f"{int(bound):,}"


_PLAIN = re.compile(r"[a-z][a-z0-9-]*")
# YAML 1.1 reads these as something else than text.
_NOT_PLAIN = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


_ESCAPED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def _escape(character: str) -> str:
    return character if character.isprintable() else f"\\U{ord(character):08X}"


def format_text(value: str) -> str:
    """Write text as a YAML scalar on one line."""
    if _PLAIN.fullmatch(value) and value not in _NOT_PLAIN:
        return value
    escaped = "".join(_ESCAPED.get(character) or _escape(character) for character in value)
    return f'"{escaped}"'


@functools.cache
def keys_of(model: type[msgspec.Struct]) -> tuple[Key, ...]:
    """Return the keys of a section (or of the whole configuration) in their order."""
    hints = get_type_hints(model, include_extras=True)
    found = []
    for struct_field in msgspec.structs.fields(model):
        kind, description = get_args(hints[struct_field.name])[:2]
        if description.kind in (Kind.TEXTS, Kind.SECTIONS):
            kind = get_args(kind)[0]
        is_class = isinstance(kind, type)
        found.append(
            Key(
                name=struct_field.name,
                description=description,
                default=(
                    struct_field.default_factory()
                    if struct_field.default_factory is not msgspec.NODEFAULT
                    else struct_field.default
                ),
                choices=kind if is_class and issubclass(kind, enum.StrEnum) else None,
                section=kind if is_class and issubclass(kind, msgspec.Struct) else None,
            )
        )
    return tuple(found)
