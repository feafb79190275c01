"""SQLite's errors in words: what happened, why, and what to do."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from codex_control.errors import CodexError, LimitExceeded, StoreUnavailable, UnsafePath, WrongState

# Result codes as in https://www.sqlite.org/rescode.html; an extended code keeps its primary code in the low byte.
_PRIMARY = 0xFF
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 where the error came from Python's module and not from the library."""
    return int(getattr(error, "sqlite_errorcode", 0)) & _PRIMARY


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the database file itself is broken."""
    return primary_code(error) in _DAMAGE


def disk_full(path: Path) -> LimitExceeded:
    """The error for a disk without space under `path`."""
    return LimitExceeded(
        what="the disk is full",
        why=f"nothing more can be written to {path.parent}",
        next_step="free some space and try again; nothing that was accepted is lost",
    )


def damaged(path: Path, why: str) -> StoreUnavailable:
    """The error for a broken database."""
    return StoreUnavailable(
        what=f"the store {path} is damaged",
        why=why,
        next_step="restart the service: it sets the damaged file aside and begins a new one",
    )


def closed(path: Path) -> StoreUnavailable:
    """The error for a call after `close`, or after a thread of the store has died."""
    return StoreUnavailable(
        what=f"the store {path} is closed", why="the service is stopping", next_step="try again when it runs"
    )


def explained(error: sqlite3.Error, path: Path) -> CodexError:
    """Turn an error of SQLite on the database `path` into ours."""
    why = str(error)
    match primary_code(error):
        case sqlite3.SQLITE_FULL:
            return disk_full(path)
        case sqlite3.SQLITE_IOERR if _no_space(path):
            # The shared-memory file of WAL mode fails with an I/O error of its own where SQLite can't grow it.
            return disk_full(path)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreUnavailable(
                what=f"the store {path} is locked",
                why="another process is using it",
                next_step=f"end that process (`fuser {path}` or `lsof {path}` names it) and try again",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_AUTH:
            return StoreUnavailable(
                what=f"the store {path} cannot be written",
                why=why,
                next_step=f"make {path.parent} and the files in it writable for uid {os.geteuid()}",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return damaged(path, why)
        case sqlite3.SQLITE_TOOBIG:
            return LimitExceeded(what="a record is larger than the store can hold", why=why)
        case sqlite3.SQLITE_CONSTRAINT:
            return WrongState(what="the store refuses the record", why=why)
        case _:
            return StoreUnavailable(
                what=f"the store {path} failed", why=why, next_step="look at the service's log and the disk"
            )


def unwritable(path: Path, error: OSError) -> CodexError:
    """Turn an error of the operating system at `path` into ours."""
    return StoreUnavailable(
        what=f"{path} cannot be written",
        why=error.strerror or str(error),
        next_step=f"make {path.parent} writable for uid {os.geteuid()}",
    )


def not_ours(path: Path, why: str, next_step: str) -> UnsafePath:
    """The error for a database file that is not ours alone."""
    return UnsafePath(what=f"{path} is not a private file of ours", why=why, next_step=next_step)


def _no_space(path: Path) -> bool:
    try:
        return os.statvfs(path.parent).f_bavail == 0
    except OSError:
        return False
