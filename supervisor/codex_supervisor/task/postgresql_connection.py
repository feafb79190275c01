"""Connections to PostgreSQL: bounded waits, errors in words, and never a password in any of them."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import psycopg_pool
from codex_control.errors import BadConfig, CodexError, LimitExceeded, StoreUnavailable
from procrastinate.exceptions import ProcrastinateException
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from codex_supervisor.task.postgresql_schema import migrate

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

CALL_LIMIT_S = 15.0
"""Longest transaction, with the wait for a connection."""

_CONNECT_LIMIT_S = 5
_AWAY_LIMIT_S = 2.0
"""Wait for a connection while the database is known to be away: whoever calls shall hear it soon."""
_RECONNECT_S = 1.0
"""Wait between two tries to listen."""

LOOK_S = 30.0
"""The safety net: at least so often everybody is told to look, whatever became of the notifications."""

# A connection whose other end is gone is found by the kernel within 15 s; what the server waits for is bounded there.
_PARAMETERS: dict[str, Any] = {
    "connect_timeout": _CONNECT_LIMIT_S,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "codex-supervisor",
}
_SESSION = "-c statement_timeout=10s -c lock_timeout=5s -c idle_in_transaction_session_timeout=20s"

_log = logging.getLogger(__name__)

# It warns of every single try while the database is away; we say once that it is.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


class Database:
    """A pool of connections and one that listens. Nothing is connected before the first use."""

    def __init__(self, dsn: str, schema: str, connections: int) -> None:
        try:
            parameters = conninfo_to_dict(dsn)
            own = {name: value for name, value in _PARAMETERS.items() if name not in parameters}
            # Last in the path: pg_catalog would otherwise come first by itself, and tests put their clock before it.
            path = f"{_SESSION} -c search_path={schema},pg_catalog"
            options = f"{parameters['options']} {path}" if parameters.get("options") else path
            self._conninfo = make_conninfo(dsn, **{**own, "options": options})
        except psycopg.Error:
            # Its text would have the whole line in it, with the password.
            raise BadConfig(
                what="tasks.dsn cannot be read",
                why="it is no connection string of PostgreSQL",
                next_step="write it as postgresql://USER@HOST:PORT/DATABASE",
            ) from None
        self._password = str(parameters.get("password") or "")
        self.place = f"{parameters.get('host', 'localhost')}/{parameters.get('dbname', '')}"
        """Where the database is, for people."""
        self._schema = schema
        self._connections = connections
        self.pool: psycopg_pool.AsyncConnectionPool[Connection] = psycopg_pool.AsyncConnectionPool(
            self._conninfo,
            min_size=1,
            max_size=connections,
            open=False,
            check=psycopg_pool.AsyncConnectionPool.check_connection,
            timeout=_CONNECT_LIMIT_S,
            # Short: each call begins anew, without the long waits of the pool's back-off.
            reconnect_timeout=2.0,
            name="tasks",
        )
        self.listens = False
        """Whether notifications arrive."""
        self._away = ""
        """Why there is no connection, as far as is known; empty while there are some."""
        self._back_at: float | None = None
        """When it answered again after it was away, on the event loop's clock; None where it was not away."""
        self._logged = ""
        self._back = asyncio.Event()
        self._try_at = 0.0
        self._migrated = False
        self._migrating = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Database {self.place} schema={self._schema} migrated={self._migrated}>"

    async def open(self) -> None:
        """Make the pool ready to connect; does not wait for the database."""
        await self.pool.open(wait=False)

    async def close(self) -> None:
        """Close all connections."""
        await self.pool.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One transaction, committed at the end. Raises `StoreUnavailable` and `LimitExceeded`."""
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                await self._wait_while_away()
                await self._migrate()
                async with self.pool.connection(self._patience_s()) as connection:
                    yield connection
        except (psycopg.Error, ProcrastinateException, TimeoutError) as error:
            raise self.explained(error) from error
        self._answers()

    async def _wait_while_away(self) -> None:
        """While the database is away, let one call in a second try it; the others wait a moment for it to come back."""
        now = asyncio.get_running_loop().time()
        if self._away and now < self._try_at:
            try:
                async with asyncio.timeout(_AWAY_LIMIT_S):
                    await self._back.wait()
            except TimeoutError:
                raise psycopg_pool.PoolTimeout(self._away) from None
        self._try_at = now + _RECONNECT_S

    def _patience_s(self) -> float:
        return _AWAY_LIMIT_S if self._away else _CONNECT_LIMIT_S

    def _answers(self) -> None:
        self._logged = ""
        self._back.set()
        if self._away:
            self._away, self._back_at = "", asyncio.get_running_loop().time()

    def _is_away(self, why: str) -> None:
        self._back.clear()
        self._away = why

    def reachable_for_s(self) -> float | None:
        """Return since when it answers, after it was away: 0 while it is away, None where it never was."""
        if self._away:
            return 0.0
        return None if self._back_at is None else asyncio.get_running_loop().time() - self._back_at

    async def listen(
        self,
        channels: tuple[str, ...],
        on_notify: Callable[[str, str], None],
        on_gap: Callable[[], None],
        on_loss: Callable[[], None],
    ) -> None:
        """Listen for ever; `on_notify` gets channel and payload, `on_gap` is called when some may have been missed.

        `on_loss` is called when the connection was lost: whoever calls the database then hears why.
        """
        told = False
        while True:
            try:
                await self._listen_once(channels, on_notify, on_gap)
            except (psycopg.Error, TimeoutError) as error:
                lost = self.listens or not told
                self.listens, told = False, True
                why = self.redacted(error) or "it does not answer"
                if lost or self._away:
                    # Else calls are answered, and only the news are missing.
                    self._is_away(why)
                if lost:
                    _log.warning("task_database_lost", extra={"database": self.place, "error": why})
                    on_loss()
            await asyncio.sleep(_RECONNECT_S)

    async def _listen_once(
        self, channels: tuple[str, ...], on_notify: Callable[[str, str], None], on_gap: Callable[[], None]
    ) -> None:
        async with asyncio.timeout(_CONNECT_LIMIT_S * 2):
            connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        async with connection:
            for channel in channels:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            self.listens = True
            self._answers()
            _log.info("task_database_listening", extra={"database": self.place})
            on_gap()
            while True:
                async for notify in connection.notifies(timeout=LOOK_S):
                    on_notify(notify.channel, notify.payload)
                # A connection that only listens does not notice by itself that the other end is gone.
                async with asyncio.timeout(CALL_LIMIT_S):
                    await connection.execute("SELECT 1")
                on_gap()

    async def _migrate(self) -> None:
        if self._migrated:
            return
        async with self._migrating:
            if not self._migrated:
                async with self.pool.connection(self._patience_s()) as connection:
                    await migrate(connection, self._schema)
                self._migrated = True

    def explained(self, error: Exception) -> CodexError:
        """Turn an error of PostgreSQL or of the way to it into ours."""
        cause = error.__cause__ if isinstance(error, ProcrastinateException) and error.__cause__ else error
        if isinstance(cause, psycopg.errors.DiskFull):
            return LimitExceeded(
                what="the disk of the task database is full",
                why=self.redacted(cause),
                next_step="free some space there and try again; nothing that was accepted is lost",
            )
        why = self.redacted(cause)
        if isinstance(cause, psycopg_pool.PoolTimeout):
            # The pool knows only that it has no connection; the one that listens knows why.
            why = self._away or why
            self._is_away(why)
        if why != self._logged and not isinstance(
            cause, (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError)
        ):
            # Once, not at each try.
            self._logged = why
            _log.error("task_database_error", extra={"database": self.place, "error": why})
        return StoreUnavailable(
            what=f"the task database at {self.place} cannot be used",
            why=why or "it does not answer",
            next_step=_next_step(cause, why),
        )

    def redacted(self, error: BaseException) -> str:
        """Return the first line of an error, without the password."""
        text = next(iter(str(error).splitlines()), "").strip()
        return text.replace(self._password, "***") if self._password else text


_REFUSED = re.compile(
    r"password authentication failed|no password supplied|no pg_hba\.conf entry|authentication failed"
    r"|(?:role|database) \".*\" does not exist|failed to resolve host"
)
"""What the server, or the way to it, says of a DSN that is wrong: such a failure has no SQLSTATE."""


def _next_step(cause: BaseException, why: str) -> str:
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):
        return "have the database's owner grant it to the role of the DSN (docs/tasks.md says which rights it needs)"
    if _REFUSED.search(why):
        return "put the DSN right (tasks.dsn, dsn_env or dsn_file), then restart the service"
    if "too many clients" in why or "connection slots" in why:
        return "raise max_connections of the server: each supervisor takes at most 5 connections"
    if isinstance(cause, psycopg.errors.ReadOnlySqlTransaction):
        return "name the server that takes writes, or add target_session_attrs=read-write to the DSN"
    return "it is tried again by itself; look at the database server if it lasts"
