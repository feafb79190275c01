"""Opening the database file: private, checked, never believed blindly.

A file that is no database any more is renamed, not deleted, and a fresh one takes its place: the service must come up.
A file that is sound but not for us (another program's, a newer schema, locked) is refused and left as it is.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from codex_control.database import failures
from codex_control.database.schema import Schema, migrate, version_of
from codex_control.errors import StoreUnavailable
from codex_control.paths import make_private_dir
from codex_control.service.clock import Clock

_log = logging.getLogger(__name__)

LOCK_WAIT_S = 5.0
"""How long a lock of another process is waited for."""

CHECK_LIMIT_S = 0.5
"""Longest check after an unclean end. Measured: 0.24 s for 528 MB in the page cache. A check that takes longer is cut
short, because SIGKILL does not damage SQLite's files and the service must be ready soon."""

SUSPECT_CHECK_LIMIT_S = 20.0
"""Longest check after damage was met while running."""

_SIDE_FILES = ("-wal", "-shm")


class _DamagedError(Exception):
    """The file is no usable database; the text says why."""


def open_for_writing(
    path: Path, *, clock: Clock, lock_wait_s: float = LOCK_WAIT_S, schema: Schema
) -> tuple[sqlite3.Connection, Path | None]:
    """Open (or create) the database at `path` for its one writer.

    Returns the connection and, where a damaged file was set aside, its new path. Raises `UnsafePath`,
    `StoreUnavailable` (locked, unwritable, newer schema, another program's) or `LimitExceeded` (disk full).
    """
    make_private_dir(path.parent)
    try:
        return _open_or_quarantine(path, clock, lock_wait_s, schema)
    except sqlite3.Error as error:
        raise failures.explained(error, path) from error
    except OSError as error:
        raise failures.unwritable(path, error) from error


def opened_thoroughly(path: Path, connect: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
    """Return what `connect` opened. Where it meets damage behind what a quick opening looks at, it is called once more:
    the second opening looks at everything, and sets the file aside. Raises what `connect` raises."""
    try:
        return connect()
    except StoreUnavailable as error:
        if not isinstance(error.__cause__, sqlite3.Error) or not failures.is_damage(error.__cause__):
            raise
    mark_suspect(path)
    return connect()


def open_for_reading(path: Path, *, lock_wait_s: float = LOCK_WAIT_S) -> sqlite3.Connection:
    """Open the database that the writer holds open, for reading only."""
    try:
        db = _connect(path, "ro", lock_wait_s)
        db.execute("PRAGMA query_only = ON")
        db.execute("PRAGMA cache_size = -1024")
    except sqlite3.Error as error:
        raise failures.explained(error, path) from error
    return db


def mark_suspect(path: Path) -> None:
    """Remember that damage was met in the database, so that the next opening checks it thoroughly."""
    try:
        _suspect_mark(path).touch(mode=0o600)
    except OSError:
        _log.warning("the mark of a damaged store cannot be written", extra={"path": str(path)}, exc_info=True)


def _open_or_quarantine(
    path: Path, clock: Clock, lock_wait_s: float, schema: Schema
) -> tuple[sqlite3.Connection, Path | None]:
    quarantined = None
    if os.path.lexists(path):
        _make_private_file(path)
        try:
            return _open_checked(path, lock_wait_s, schema), None
        except _DamagedError as damage:
            quarantined = _quarantine(path, clock, str(damage))
    elif any(_beside(path, suffix).exists() for suffix in _SIDE_FILES):
        # SQLite would play the log of a database that is gone into the new one.
        quarantined = _quarantine(path, clock, "the database file is gone, its log is left")
    _create(path, schema)
    try:
        return _open_checked(path, lock_wait_s, schema), quarantined
    except _DamagedError as damage:
        raise failures.damaged(path, f"even a fresh file cannot be used: {damage}") from damage


def _create(path: Path, schema: Schema) -> None:
    """Make an empty database. It is built under another name, so that an empty file at `path` always means damage."""
    new = _beside(path, ".new")
    for suffix in ("", "-journal", *_SIDE_FILES):
        _beside(new, suffix).unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with closing(_connect(new, "rw", 0.0)) as db:
        # First of all: once a page is written it can't be changed any more.
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute(f"PRAGMA application_id = {schema.application_id}")
        migrate(db, schema.migrations)
        _switch_to_wal(db, path)
    new.rename(path)
    _sync_directory(path.parent)


def _open_checked(path: Path, lock_wait_s: float, schema: Schema) -> sqlite3.Connection:
    log = _beside(path, "-wal")
    unclean = log.exists() and log.stat().st_size > 0
    if path.stat().st_size == 0 and not unclean:
        raise _DamagedError("the file is empty")
    suspect = _suspect_mark(path)
    db = _connect(path, "rw", lock_wait_s)
    try:
        _refuse_strangers(db, path, schema)
        if suspect.exists():
            _check(db, SUSPECT_CHECK_LIMIT_S)
        elif unclean:
            _check(db, CHECK_LIMIT_S)
        migrate(db, schema.migrations)
        _switch_to_wal(db, path)
        db.execute("PRAGMA foreign_keys = ON")
        # Deleted text is overwritten where that costs no extra write; whole freed pages go by incremental vacuum.
        db.execute("PRAGMA secure_delete = FAST")
        # On macOS a plain fsync survives a crash of the system, not a cut of the power; F_FULLFSYNC costs some ten
        # milliseconds. The database file itself is always protected, the last commits are not.
        db.execute("PRAGMA checkpoint_fullfsync = ON")
        db.execute("PRAGMA journal_size_limit = 16777216")
        # Another process that writes is found now, not at the first ask.
        db.execute("BEGIN IMMEDIATE")
        db.execute("COMMIT")
        suspect.unlink(missing_ok=True)
    except sqlite3.Error as error:
        db.close()
        if failures.is_damage(error):
            raise _DamagedError(str(error)) from error
        raise
    except BaseException:
        db.close()
        raise
    return db


def _connect(path: Path, mode: str, lock_wait_s: float) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, timeout=lock_wait_s, isolation_level=None)


def _refuse_strangers(db: sqlite3.Connection, path: Path, schema: Schema) -> None:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    if application == schema.application_id and version_of(db) > 0:
        return
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables:
        raise _DamagedError("it holds no tables")
    raise StoreUnavailable(
        what=f"{path} is a database of another program",
        why=f"its application id is {application:#x}, ours is {schema.application_id:#x}",
        next_step=f"move {path} away, or choose another state directory",
    )


def _switch_to_wal(db: sqlite3.Connection, path: Path) -> None:
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreUnavailable(
            what=f"the file system of {path.parent} cannot hold the store",
            why="SQLite's write-ahead log does not work there",
            next_step="put the state directory on a local disk",
        )


def _check(db: sqlite3.Connection, limit_s: float) -> None:
    """Look for damage for at most `limit_s` seconds."""
    timer = threading.Timer(limit_s, db.interrupt)
    timer.start()
    try:
        (result,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if failures.primary_code(error) != sqlite3.SQLITE_INTERRUPT:
            raise
        _log.info("the check of the store was cut short", extra={"limit_s": limit_s})
        return
    finally:
        # Joined, so that a late interrupt hits no later statement.
        timer.cancel()
        timer.join()
    if result != "ok":
        raise _DamagedError(str(result).replace("\n", "; "))


def _make_private_file(path: Path) -> None:
    for file in (path, *(_beside(path, suffix) for suffix in _SIDE_FILES)):
        try:
            status = file.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(status.st_mode):
            raise failures.not_ours(file, "it is not a regular file", f"move {file} away")
        if status.st_uid != os.geteuid():
            raise failures.not_ours(
                file, f"its owner is uid {status.st_uid}, we are uid {os.geteuid()}", f"move {file} away"
            )
        if status.st_mode & 0o077:
            file.chmod(0o600)
            _log.warning("a file of the store was open to other users and is private now", extra={"path": str(file)})


def _quarantine(path: Path, clock: Clock, why: str) -> Path:
    """Rename the database and its side files; return the new path of the database."""
    stamp = datetime.fromtimestamp(clock.wall_ns() / 1e9, UTC).strftime("%Y%m%dT%H%M%SZ")
    number = 0
    target = _beside(path, f".damaged-{stamp}")
    while any(os.path.lexists(_beside(target, suffix)) for suffix in ("", *_SIDE_FILES)):
        number += 1
        target = _beside(path, f".damaged-{stamp}-{number}")
    for suffix in ("", *_SIDE_FILES):
        try:
            _beside(path, suffix).rename(_beside(target, suffix))
        except FileNotFoundError:
            continue
    _suspect_mark(path).unlink(missing_ok=True)
    _sync_directory(path.parent)
    _log.error("the store was damaged and is set aside", extra={"path": str(target), "why": why})
    return target


def _suspect_mark(path: Path) -> Path:
    return _beside(path, ".suspect")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
