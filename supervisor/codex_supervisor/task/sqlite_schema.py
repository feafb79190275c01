"""The tables of the embedded engine, in a database of their own: many finished tasks never slow the journal."""

from __future__ import annotations

from codex_control.database.schema import Schema

APPLICATION_ID = 0x43535431
"""Marks the file as ours (`PRAGMA application_id`): "CST1" in ASCII."""

# The columns before `request` repeat what `status` says, for the indexes and the constraints; `status` is what counts.
# `number` is the order of submission and never used twice (AUTOINCREMENT). What grows long stands last.
# A row of `waits` is there only while the child waits for the parent.
_V1 = """
CREATE TABLE tasks (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE CHECK (id <> ''),
  state TEXT NOT NULL CHECK (state IN ('PENDING', 'RUNNING', 'DONE', 'ERROR', 'TIMEOUT')),
  queue TEXT NOT NULL,
  priority INTEGER NOT NULL,
  labels TEXT NOT NULL,
  blocked INTEGER NOT NULL CHECK (blocked >= 0),
  not_before_ns INTEGER NOT NULL,
  lease_worker TEXT,
  lease_run TEXT,
  lease_expires_ns INTEGER,
  ended_ns INTEGER,
  last_seq INTEGER NOT NULL,
  dropped_seq INTEGER NOT NULL,
  event_bytes INTEGER NOT NULL,
  request TEXT NOT NULL,
  status TEXT NOT NULL,
  prompt TEXT NOT NULL,
  output_schema TEXT NOT NULL,
  answer TEXT NOT NULL,
  CHECK ((state = 'RUNNING') = (lease_expires_ns IS NOT NULL)),
  CHECK ((state IN ('DONE', 'ERROR', 'TIMEOUT')) = (ended_ns IS NOT NULL)),
  CHECK (blocked = 0 OR state = 'PENDING')
);
CREATE INDEX tasks_to_claim ON tasks (priority DESC, number, not_before_ns, queue, labels)
  WHERE state = 'PENDING' AND blocked = 0;
CREATE INDEX tasks_to_come ON tasks (not_before_ns) WHERE state = 'PENDING' AND blocked = 0 AND not_before_ns > 0;
CREATE INDEX tasks_running ON tasks (lease_expires_ns) WHERE state = 'RUNNING';
CREATE INDEX tasks_by_state ON tasks (state, number, queue);
CREATE INDEX tasks_ended ON tasks (ended_ns, number, state) WHERE ended_ns IS NOT NULL;

CREATE TRIGGER tasks_end_once BEFORE UPDATE OF state ON tasks
WHEN OLD.ended_ns IS NOT NULL AND NOT (NEW.state = 'PENDING' AND OLD.state <> 'DONE')
BEGIN SELECT RAISE(ABORT, 'the task has its outcome already'); END;

CREATE TABLE waits (
  parent INTEGER NOT NULL REFERENCES tasks (number),
  child INTEGER NOT NULL REFERENCES tasks (number),
  PRIMARY KEY (parent, child)
) WITHOUT ROWID;
CREATE INDEX waits_of_child ON waits (child);

CREATE TABLE events (
  task INTEGER NOT NULL REFERENCES tasks (number) ON DELETE CASCADE,
  seq INTEGER NOT NULL CHECK (seq > 0),
  payload BLOB NOT NULL,
  PRIMARY KEY (task, seq)
) WITHOUT ROWID;
"""

SCHEMA = Schema(APPLICATION_ID, (_V1,))
"""A released step never changes; a new one is added behind it."""
