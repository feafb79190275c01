"""How a key of the configuration describes itself, beside its field: one constructor for each kind of value.

The parser checks by these descriptions and the reference page is generated from them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Applies(enum.Enum):
    """When a changed value takes effect."""

    RELOAD = "on reload"
    """At once, for whatever is decided from then on."""
    NEW_CHILDREN = "on reload, for children started from then on"
    """A running child keeps what it was started with."""
    NEW_TURNS = "on reload, for turns accepted from then on"
    """A running or queued turn keeps what it was accepted with."""
    RESTART = "after a restart of the supervisor"
    """The supervisor reads it once, at its start."""


class Kind(enum.Enum):
    """What is written for a key."""

    SECONDS = "duration"
    BYTES = "size"
    COUNT = "whole number"
    SWITCH = "true or false"
    TEXT = "text"
    TEXTS = "list of texts"
    SECTION = "section"
    PROFILES = "profiles by name"


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
    pattern: str = ""
    """Regular expression that each text matches in full."""
    pattern_means: str = ""
    """The pattern in words, to follow 'expected'."""


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
    applies: Applies = Applies.RELOAD,
) -> Description:
    """Describe a text, or a choice where the field's type is an enum."""
    return Description(
        kind=Kind.TEXT,
        text=text,
        max_length=max_length,
        pattern=pattern,
        pattern_means=pattern_means,
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


def section(text: str) -> Description:
    """Describe a section."""
    return Description(kind=Kind.SECTION, text=text)


def profiles(text: str) -> Description:
    """Describe the map of profiles."""
    return Description(kind=Kind.PROFILES, text=text, applies=Applies.NEW_TURNS)
