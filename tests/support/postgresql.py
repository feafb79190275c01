"""A real PostgreSQL server for tests: Debian's, started here, or the one that TEST_POSTGRES_DSN names."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import psycopg
from psycopg import sql

from tests.support.missing import leave_out
from tests.support.turning_clock import START_NS, TurningClock

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
USER = "codex"


class PostgresqlServer:
    """A server of our own on a Unix socket, without a network, in a directory that goes with it."""

    def __init__(self, programs: Path, disk: str = "") -> None:
        """`disk` is the size of a file system of its own at `small`, which only the server sees; needs root."""
        self._programs = programs
        self._disk = disk
        self._owner = _unprivileged_user()
        # Below /tmp, because the server's user must reach it; the name is random and nobody else may enter.
        self._directory = Path(tempfile.mkdtemp(prefix="codex-postgresql-"))
        if self._owner is not None:
            os.chown(self._directory, self._owner.pw_uid, self._owner.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", str(self._data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    @property
    def dsn(self) -> str:
        return f"host={self._directory} user={USER} dbname=postgres"

    @property
    def small(self) -> Path:
        """Where its small file system is, as it sees it."""
        return self._directory / "small"

    @property
    def small_from_here(self) -> Path:
        """Where its small file system is, as others see it."""
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/root{self.small}")

    def demand_password(self, user: str) -> None:
        """Let `user` in with a password only, from the next start on."""
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"local all {user} scram-sha-256\n{rules.read_text()}")

    def start(self, more: Mapping[str, str] | None = None) -> None:
        """Start the server, with `more` settings, and wait until it answers."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._directory),
            "fsync": "off",
            **(more or {}),
        }
        arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._on_disk(),
                    *self._as_owner(),
                    str(self._programs / "postgres"),
                    "-D",
                    str(self._data),
                    *arguments,
                ],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_for_answer()

    def stop(self) -> None:
        """Stop it at once, as a crash does; its clients lose their connections."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def remove(self) -> None:
        """Stop it and remove its directory."""
        self.stop()
        shutil.rmtree(self._directory)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_owner(), str(self._programs / program), *arguments]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=START_TIMEOUT_S)
        assert done.returncode == 0, done.stderr

    def _on_disk(self) -> list[str]:
        if not self._disk:
            return []
        self.small.mkdir(exist_ok=True)
        owner = self._owner.pw_uid if self._owner is not None else os.getuid()
        mount = f'mount -t tmpfs -o size={self._disk},mode=0700,uid={owner} none "$1" && shift && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", mount, "sh", str(self.small)]

    def _as_owner(self) -> list[str]:
        # Ends with the tests, however they end; PostgreSQL takes SIGQUIT as "at once".
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            return []
        drop = []
        if self._owner is not None:
            drop = [f"--reuid={self._owner.pw_uid}", f"--regid={self._owner.pw_gid}", "--clear-groups"]
        return [setpriv, *drop, "--pdeathsig=QUIT", "--"]

    def _wait_for_answer(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(self.dsn, connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self._directory / "log").read_text()) from None
                time.sleep(0.02)
            else:
                return


class ServerClock(TurningClock):
    """A test's clock that the server sees too: a function `now` of its own, found before PostgreSQL's in a schema."""

    def __init__(self, dsn: str, schema: str) -> None:
        super().__init__()
        self._connection = psycopg.connect(dsn, autocommit=True)
        self._table = sql.Identifier(schema, "test_clock")
        self._execute("CREATE SCHEMA {}", sql.Identifier(schema))
        self._execute("CREATE TABLE {} AS SELECT to_timestamp({}) AS now", self._table, sql.Literal(START_NS // 10**9))
        self._execute(
            "CREATE FUNCTION {}() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT now FROM {}'",
            sql.Identifier(schema, "now"),
            self._table,
        )

    def turn(self, seconds: float) -> None:
        super().turn(seconds)
        self._execute("UPDATE {} SET now = now + make_interval(secs => {})", self._table, sql.Literal(float(seconds)))

    def close(self) -> None:
        self._connection.close()

    def _execute(self, query: str, *parts: sql.Composable) -> None:
        self._connection.execute(sql.SQL(query).format(*parts))


def programs() -> Path | None:
    """Where initdb and postgres are: the newest of Debian's (they are not on the PATH), else those on the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return Path(on_path).resolve().parent if on_path else None


def missing_server() -> NoReturn:
    """Leave the test out; with CI=true, fail it."""
    leave_out("no PostgreSQL: install Debian's package postgresql, or set TEST_POSTGRES_DSN")


@contextmanager
def running_server(disk: str = "") -> Iterator[PostgresqlServer]:
    """A server of our own, which a test may stop. For `disk` see `PostgresqlServer`."""
    where = programs()
    assert where is not None
    server = PostgresqlServer(where, disk)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@contextmanager
def schema_of_its_own(dsn: str) -> Iterator[str]:
    """The name of a schema that is not there yet; it is removed at the end."""
    name = f"test_{secrets.token_hex(6)}"
    try:
        yield name
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("SET client_min_messages = warning")
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


def _unprivileged_user() -> pwd.struct_passwd | None:
    # PostgreSQL refuses to run as root.
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise AssertionError("there is no user to run PostgreSQL as")
