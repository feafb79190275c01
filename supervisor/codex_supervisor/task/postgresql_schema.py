"""The tables in PostgreSQL: procrastinate's and ours, side by side in a schema of our own, brought up to date at the
first connection.

Of procrastinate we take its schema file when there is none yet, and its migrations from the version that was applied
last. Supervisors that start at once wait for each other.
"""

from __future__ import annotations

import importlib.metadata
import re
from importlib import resources
from typing import Any, LiteralString

import psycopg
from codex_control.errors import StoreUnavailable
from psycopg import sql

# As in sqlite_schema.py, but for `route`, which is procrastinate's name of the queue, and `job`, its row there. Texts
# of people and models are bytes, because PostgreSQL's text holds no NUL.
_V1: LiteralString = """
CREATE TABLE tasks (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text NOT NULL UNIQUE CHECK (id <> ''),
  state text NOT NULL CHECK (state IN ('PENDING', 'RUNNING', 'DONE', 'ERROR', 'TIMEOUT')),
  queue text NOT NULL,
  route text NOT NULL,
  priority integer NOT NULL,
  blocked integer NOT NULL CHECK (blocked >= 0),
  not_before_ns bigint NOT NULL,
  lease_worker text,
  lease_run text,
  lease_expires_ns bigint,
  ended_ns bigint,
  last_seq bigint NOT NULL,
  dropped_seq bigint NOT NULL,
  event_bytes bigint NOT NULL,
  job bigint UNIQUE,
  request text NOT NULL,
  status text NOT NULL,
  prompt bytea NOT NULL,
  output_schema bytea NOT NULL,
  answer bytea NOT NULL,
  CHECK ((state = 'RUNNING') = (lease_expires_ns IS NOT NULL)),
  CHECK ((state IN ('DONE', 'ERROR', 'TIMEOUT')) = (ended_ns IS NOT NULL)),
  CHECK (blocked = 0 OR state = 'PENDING')
);
CREATE INDEX tasks_to_come ON tasks (not_before_ns) WHERE state = 'PENDING' AND blocked = 0 AND not_before_ns > 0;
CREATE INDEX tasks_running ON tasks (lease_expires_ns) WHERE state = 'RUNNING';
CREATE INDEX tasks_by_state ON tasks (state, number, queue);
CREATE INDEX tasks_ended ON tasks (ended_ns, number) WHERE ended_ns IS NOT NULL;

CREATE FUNCTION tasks_end_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE 'the task has its outcome already' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER tasks_end_once BEFORE UPDATE ON tasks FOR EACH ROW
  WHEN (OLD.ended_ns IS NOT NULL AND NOT (NEW.state = 'PENDING' AND OLD.state <> 'DONE'))
  EXECUTE FUNCTION tasks_end_once();

CREATE TABLE waits (
  parent bigint NOT NULL REFERENCES tasks (number),
  child bigint NOT NULL REFERENCES tasks (number),
  PRIMARY KEY (parent, child)
);
CREATE INDEX waits_of_child ON waits (child);

CREATE TABLE events (
  task bigint NOT NULL REFERENCES tasks (number) ON DELETE CASCADE,
  seq bigint NOT NULL CHECK (seq > 0),
  payload bytea NOT NULL,
  PRIMARY KEY (task, seq)
);

CREATE TABLE routes (
  route text PRIMARY KEY,
  queue text NOT NULL,
  labels text[] NOT NULL
);
"""

# Who works under a name: for as long as it says so itself.
_V2: LiteralString = """
CREATE TABLE workers (
  name text PRIMARY KEY,
  run text NOT NULL,
  seat text NOT NULL,
  host text NOT NULL,
  until_ns bigint NOT NULL
);
"""

MIGRATIONS: tuple[LiteralString, ...] = (_V1, _V2)
"""Step N (from 1) leads from schema N-1 to schema N. A released step never changes; a new one is added behind it."""

# Any number that nobody else is likely to lock; one for all schemas of a database.
_LOCK = 0x43535431

_VERSION_OF_STEP = re.compile(r"(\d\d)\.(\d\d)\.(\d\d)_\d\d_(?:pre|post)_\w+\.sql")

Version = tuple[int, ...]


async def migrate(connection: psycopg.AsyncConnection[Any], schema: str) -> None:
    """Bring the schema up to date, in the transaction of `connection`, whose search path begins with it.

    Raises `StoreUnavailable` where it is newer than ours; nothing is changed then.
    """
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    name = sql.Identifier(schema)
    found = await (await connection.execute("SELECT to_regnamespace(quote_ident(%s))", (schema,))).fetchone()
    if found is None or found[0] is None:
        # Not IF NOT EXISTS: that needs the right to create schemas even where there is nothing to do.
        await connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
    table = sql.SQL("{}.schema_version").format(name)
    found = await (
        await connection.execute("SELECT to_regclass(quote_ident(%s) || '.schema_version')", (schema,))
    ).fetchone()
    if found is None or found[0] is None:
        # As above: a role that may only use the tables can do so.
        await connection.execute(
            sql.SQL("CREATE TABLE {} (tasks integer NOT NULL, procrastinate integer[] NOT NULL)").format(table)
        )
    row = await (await connection.execute(sql.SQL("SELECT tasks, procrastinate FROM {}").format(table))).fetchone()
    present, queue_version = row if row is not None else (0, [])
    if present > len(MIGRATIONS):
        raise StoreUnavailable(
            what="the task database was written by a newer codex-supervisor",
            why=f"its schema has number {present}, this version knows up to {len(MIGRATIONS)}",
            next_step="install the newer version here too",
        )
    installed = version_numbers(importlib.metadata.version("procrastinate"))
    steps = [*queue_steps(tuple(queue_version), installed), *MIGRATIONS[present:]]
    for step in steps:
        await connection.execute(step)
    if steps:
        await connection.execute(sql.SQL("DELETE FROM {}").format(table))
        await connection.execute(
            sql.SQL("INSERT INTO {} VALUES (%s, %s)").format(table),
            (len(MIGRATIONS), list(max(installed, tuple(queue_version)))),
        )


def queue_steps(applied: Version, installed: Version) -> list[LiteralString]:
    """Return what leads procrastinate's tables from the version `applied` (empty for none) to the installed one."""
    files = resources.files("procrastinate.sql")
    if not applied:
        return [(files / "schema.sql").read_text(encoding="utf-8")]
    steps = []
    for file in sorted((files / "migrations").iterdir(), key=lambda file: file.name):
        match = _VERSION_OF_STEP.fullmatch(file.name)
        if match and applied < tuple(map(int, match.groups())) <= installed:
            steps.append(file.read_text(encoding="utf-8"))
    return steps


def version_numbers(version: str) -> Version:
    """Return the first three numbers of a version."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
