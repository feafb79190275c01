"""The tables of the journal, and the numbered steps that lead from any older schema to ours."""

from __future__ import annotations

from codex_control.database.schema import Schema

APPLICATION_ID = 0x43535631
"""Marks the file as ours (`PRAGMA application_id`): "CSV1" in ASCII."""

# Order within tables: what grows long stands last, so that reading the short columns follows no overflow pages.
# `turns.number` is the order of acceptance and never used twice (AUTOINCREMENT): pages and archive files count by it,
# because the wall clock may jump.
_V1 = """
CREATE TABLE instances (
  id TEXT PRIMARY KEY NOT NULL CHECK (id <> ''),
  record BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE children (
  token TEXT PRIMARY KEY NOT NULL CHECK (token <> ''),
  record BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE turns (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE CHECK (id <> ''),
  request_id TEXT NOT NULL UNIQUE CHECK (request_id <> ''),
  instance TEXT NOT NULL,
  outcome TEXT CHECK (outcome IN ('completed', 'failed', 'cancelled', 'interrupted')),
  cause TEXT,
  accepted_ns INTEGER NOT NULL,
  sent_ns INTEGER,
  ended_ns INTEGER,
  thread_id TEXT NOT NULL,
  codex_turn_id TEXT NOT NULL,
  recoveries INTEGER NOT NULL CHECK (recoveries >= 0),
  queued_s REAL,
  first_event_s REAL,
  first_text_s REAL,
  total_s REAL,
  error TEXT NOT NULL,
  usage BLOB NOT NULL,
  request BLOB NOT NULL,
  answer TEXT NOT NULL,
  reasoning TEXT NOT NULL,
  commands BLOB NOT NULL,
  files BLOB NOT NULL,
  CHECK ((outcome IS NULL) = (ended_ns IS NULL)),
  CHECK (cause IS NULL OR (outcome IS NOT NULL AND outcome <> 'completed'))
);
CREATE INDEX turns_unfinished ON turns (number) WHERE outcome IS NULL;
CREATE INDEX turns_ended ON turns (instance, number) WHERE outcome IS NOT NULL;

CREATE TRIGGER turns_end_once BEFORE UPDATE OF outcome ON turns WHEN OLD.outcome IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'the turn has its outcome already'); END;

CREATE TABLE journals (
  turn INTEGER PRIMARY KEY REFERENCES turns (number) ON DELETE CASCADE,
  instance TEXT NOT NULL,
  last_seq INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0,
  ended INTEGER NOT NULL DEFAULT 0 CHECK (ended IN (0, 1)),
  pruned INTEGER NOT NULL DEFAULT 0 CHECK (pruned IN (0, 1)),
  CHECK (pruned <= ended)
);
CREATE INDEX journals_kept ON journals (instance, turn, bytes) WHERE ended = 1 AND pruned = 0;
CREATE INDEX journals_leaving ON journals (turn) WHERE pruned = 1 AND bytes > 0;

CREATE TABLE events (
  turn INTEGER NOT NULL REFERENCES turns (number) ON DELETE CASCADE,
  seq INTEGER NOT NULL CHECK (seq > 0),
  payload BLOB NOT NULL,
  PRIMARY KEY (turn, seq)
) WITHOUT ROWID;

CREATE TABLE archive_files (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  instance TEXT NOT NULL,
  last INTEGER NOT NULL,
  bytes INTEGER NOT NULL
);
CREATE INDEX archive_files_of_instance ON archive_files (instance);
CREATE INDEX archive_files_by_age ON archive_files (last);

CREATE TABLE archived (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  request_id TEXT NOT NULL UNIQUE,
  instance TEXT NOT NULL,
  last_seq INTEGER NOT NULL,
  file INTEGER NOT NULL REFERENCES archive_files (id) ON DELETE CASCADE,
  offset INTEGER NOT NULL
);
CREATE INDEX archived_of_instance ON archived (instance, number);
CREATE INDEX archived_in_file ON archived (file);
"""

MIGRATIONS: tuple[str, ...] = (_V1,)
"""Step N (from 1) leads from schema N-1 to schema N. A released step never changes; a new one is added behind it."""


JOURNAL = Schema(APPLICATION_ID, MIGRATIONS)
"""The database of turns, instances and children."""
