"""Ids of turns: short, unique, and in order of time, so that a list of them is a list in order."""

from __future__ import annotations

import secrets

# Crockford's base 32: no letter that is mistaken for a digit. Lower case, as it is typed into a terminal.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_turn_id(wall_ns: int) -> str:
    """Return an id of 16 characters: 48 bits of milliseconds since the epoch, then 30 random bits, in base 32."""
    number = (wall_ns // 1_000_000 & (1 << 48) - 1) << 30 | secrets.randbits(30)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(75, -5, -5))
