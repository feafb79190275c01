"""The tables of the gateway's records."""

from __future__ import annotations

from codex_control.database.schema import Schema

APPLICATION_ID = 0x43475731
"""Marks the file as ours (`PRAGMA application_id`): "CGW1" in ASCII."""

# What grows long stands last. `number` is the order of arrival and never used twice: pages count by it, because the
# wall clock may jump. `run` names the run of the gateway: a row without an outcome of another run was lost with it.
_V1 = """
CREATE TABLE requests (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE CHECK (id <> ''),
  run TEXT NOT NULL,
  at_ns INTEGER NOT NULL,
  token TEXT NOT NULL,
  client TEXT NOT NULL,
  dialect TEXT NOT NULL,
  model TEXT NOT NULL,
  stream INTEGER NOT NULL CHECK (stream IN (0, 1)),
  endpoint TEXT NOT NULL,
  upstream_dialect TEXT NOT NULL,
  upstream_model TEXT NOT NULL,
  attempt_count INTEGER NOT NULL,
  status INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  first_byte_s REAL,
  duration_s REAL NOT NULL,
  input INTEGER NOT NULL,
  cache_read INTEGER NOT NULL,
  cache_write INTEGER NOT NULL,
  output INTEGER NOT NULL,
  reasoning INTEGER NOT NULL,
  cost_usd REAL,
  bytes_in INTEGER NOT NULL,
  bytes_out INTEGER NOT NULL,
  path TEXT NOT NULL,
  conversation TEXT NOT NULL,
  tags TEXT NOT NULL,
  error TEXT NOT NULL,
  attempts BLOB NOT NULL
);
CREATE INDEX requests_by_time ON requests (at_ns);
CREATE INDEX requests_not_ok ON requests (number) WHERE outcome <> 'ok';

CREATE TABLE bodies (
  request INTEGER NOT NULL REFERENCES requests (number) ON DELETE CASCADE,
  attempt INTEGER NOT NULL CHECK (attempt >= 0),
  side TEXT NOT NULL CHECK (side IN ('asked', 'sent', 'answered')),
  size INTEGER NOT NULL,
  compressed BLOB NOT NULL,
  PRIMARY KEY (request, attempt, side)
) WITHOUT ROWID;

CREATE TABLE facts (
  endpoint TEXT NOT NULL,
  topic TEXT NOT NULL,
  model TEXT NOT NULL,
  detail TEXT NOT NULL,
  fact BLOB NOT NULL,
  PRIMARY KEY (endpoint, topic, model, detail)
) WITHOUT ROWID;
"""

SCHEMA = Schema(APPLICATION_ID, (_V1,))
"""The gateway's database."""
