"""Files that we write into other programs' directories, and how we know them again.

A seal in a comment of the file holds the SHA-256 of the rest: so a file of somebody else, and one of ours that a person
has changed since, are never overwritten or removed unasked.
"""

from __future__ import annotations

import enum
import hashlib
import os
import re
import tempfile
from pathlib import Path

_BLANK = "0" * 64
_SEALED = re.compile(r"Written by [a-z-]+ install; sha256 ([0-9a-f]{64})")
# Ours have about 3 KiB; somebody else's need not be read whole.
_MAX_BYTES = 1 << 20


class Owner(enum.Enum):
    """Whose file it is."""

    NOBODY = "absent"
    """There is none."""
    OURS = "ours"
    """As we wrote it."""
    EDITED = "ours, edited by hand"
    """We wrote it, and somebody changed it."""
    FOREIGN = "somebody else's"
    """We did not write it; symbolic links too."""


def blank_seal(program: str) -> str:
    """What to put into a comment of a text of `program` that `sealed` is to seal."""
    return f"Written by {program} install; sha256 {_BLANK}"


def sealed(text: str) -> str:
    """Return `text` with its seal filled in. It must hold one `blank_seal(…)`."""
    if len(seals := _SEALED.findall(text)) != 1 or seals[0] != _BLANK:
        raise ValueError("the text has no place for the seal")
    return text.replace(_BLANK, hashlib.sha256(text.encode()).hexdigest(), 1)


def owner_of(path: Path) -> Owner:
    """Say whose file `path` is."""
    if path.is_symlink():
        return Owner.FOREIGN
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return Owner.NOBODY
    except OSError:
        return Owner.FOREIGN
    seal = _SEALED.search(text)
    if seal is None:
        return Owner.FOREIGN
    blank = text[: seal.start(1)] + _BLANK + text[seal.end(1) :]
    return Owner.OURS if hashlib.sha256(blank.encode()).hexdigest() == seal[1] else Owner.EDITED


def write_whole(path: Path, text: str, mode: int) -> None:
    """Put `text` in the place of `path` at once: a reader sees the old file or the new one. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
