"""Ids of tasks as clients make them: short, unique, in order of time, and telling whose task it is.

A client makes the id itself, so that a submit whose answer was lost can be repeated: the same id with the same request
is the same task. Any other id that the API allows is as good; people choose their own with `codexctl task submit --id`.
"""

from __future__ import annotations

import os
from zlib import crc32

# Crockford's base 32: no letter that is mistaken for a digit. Lower case, as it is typed into a terminal.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

_TAG_CHARS = 6


def new_task_id(wall_ns: int, instance: str = "") -> str:
    """Return a new id; `instance` is the id of the instance that it is to be found by, empty for none.

    48 bits of milliseconds since the epoch, then 30 random bits, in base 32: 16 characters; `instance` adds 7.
    """
    made = _base32((wall_ns // 1_000_000 & (1 << 48) - 1) << 30 | int.from_bytes(os.urandom(4)) & (1 << 30) - 1, 16)
    return task_prefix(instance) + made if instance else made


def task_prefix(instance: str) -> str:
    """What the ids of the tasks of an instance begin with: 30 bits of a checksum, because an instance's own id may be
    as long as a task's. It keeps sessions apart for people; it is no secret.
    """
    # hashlib would load OpenSSL: 2 ms in every command.
    return _base32(crc32(instance.encode()) & (1 << 5 * _TAG_CHARS) - 1, _TAG_CHARS) + "-"


def _base32(number: int, length: int) -> str:
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(5 * (length - 1), -5, -5))
