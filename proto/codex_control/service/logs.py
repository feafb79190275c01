"""Structured logs: one JSON object a line to a rotated 0600 file and to the journal, short lines to a terminal.

A record's message is the event's name (`state_changed`); what belongs to it comes with `extra=` and becomes fields:
`instance`, `pid`, `state`, `attempt` and others. Prompts and answers are never logged.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import logging.handlers
import os
import stat
import sys
from pathlib import Path
from typing import IO, Any, TextIO

import msgspec

from codex_control.paths import Paths
from codex_control.service.redaction import redact, redact_value

MAX_TEXT = 4096
"""Most characters of a message or of one field; tracebacks may have four times as many."""
OWN_LOGGERS = ("codex_supervisor", "codex_gateway", "codex_control")

# What every record has; all else came with `extra=`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "json_line"}
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# syslog(3) priorities, which the journal takes from the beginning of a line (sd-daemon(3)).
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def log_file(paths: Paths) -> Path:
    """Where the supervisor's own log is."""
    return paths.log_dir / "supervisor.log"


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what came with `extra=`, without secrets and each value bounded."""
    return {name: _bounded(redact_value(name, value)) for name, value in vars(record).items() if name not in _STANDARD}


def _bounded(value: Any, limit: int = MAX_TEXT) -> Any:
    if isinstance(value, str):
        return value if len(value) <= limit else f"{value[:limit]}… ({len(value)} characters)"
    if isinstance(value, dict | list):
        written = msgspec.json.encode(value).decode()
        return value if len(written) <= limit else _bounded(written, limit)
    return value


class JsonFormatter(logging.Formatter):
    """One JSON object on one line: `at` (UTC), `level`, `event`, `logger`, then the fields, then `traceback`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        # The event loop waits for it: made once for all handlers, and for the file's look at its size.
        line: str | None = getattr(record, "json_line", None)
        if line is None:
            line = record.json_line = self._format(record)
        return line

    def _format(self, record: logging.LogRecord) -> str:
        at = dt.datetime.fromtimestamp(record.created, dt.UTC)
        line: dict[str, Any] = {
            "at": f"{at:%Y-%m-%dT%H:%M:%S.%f}Z",
            "level": record.levelname.lower(),
            "event": _bounded(redact(record.getMessage())),
            "logger": record.name,
        }
        line |= {name: value for name, value in fields_of(record).items() if name not in line}
        if record.exc_info and record.exc_info[0] is not None:
            line["traceback"] = _bounded(redact(self.formatException(record.exc_info)), 4 * MAX_TEXT)
        # Encoding may fail on lone surrogates, which come from file names that are not UTF-8.
        return msgspec.json.encode(_encodable(line)).decode()


def _encodable(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_encodable(key): _encodable(inner) for key, inner in value.items()}
        case list():
            return [_encodable(inner) for inner in value]
        case float() if value != value or value in (float("inf"), float("-inf")):
            return str(value)
        case int() if not -(2**63) <= value < 2**64:
            return str(value)
        case _:
            return value


class JournalFormatter(JsonFormatter):
    """The same line behind its syslog priority, so that `journalctl -p warning` works."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return f"<{_PRIORITIES.get(record.levelname.lower(), 6)}>{super().format(record)}"


class TerminalFormatter(logging.Formatter):
    """A short line for people: time, level, event, `field=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows on lines of its own."""
        at = dt.datetime.fromtimestamp(record.created).astimezone()
        fields = "".join(f" {name}={_safe(str(value))}" for name, value in fields_of(record).items())
        event = _safe(str(_bounded(redact(record.getMessage()))))
        line = f"{at:%H:%M:%S}.{int(record.msecs):03d} {record.levelname.lower():<8} {event}{fields}"
        if record.exc_info and record.exc_info[0] is not None:
            trace = str(_bounded(redact(self.formatException(record.exc_info)), 4 * MAX_TEXT))
            line = "\n    ".join([line, *(_safe(part) for part in trace.splitlines())])
        return line


def _safe(text: str) -> str:
    # What a file is called must not move the cursor or colour the terminal.
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


class _PrivateRotatingFile(logging.handlers.RotatingFileHandler):
    """Rotates by size; every file is 0600 whatever the umask, and a link in its place is not followed.

    What cannot be written (a full disk) is counted in `lost` and told once on stderr: logging must not end the service.
    """

    def __init__(self, path: Path, limit_bytes: int, kept: int) -> None:
        self.lost = 0
        super().__init__(path, maxBytes=limit_bytes, backupCount=kept, encoding="utf-8", delay=True)

    def _open(self) -> IO[Any]:  # type: ignore[override]
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(self.baseFilename, flags, 0o600)
        mode = os.fstat(handle).st_mode
        if stat.S_ISREG(mode) and stat.S_IMODE(mode) != 0o600:
            os.fchmod(handle, 0o600)
        return os.fdopen(handle, "a", encoding="utf-8")

    def doRollover(self) -> None:  # noqa: N802 - logging's name
        if self.backupCount > 0:
            super().doRollover()
        elif self.stream is not None:  # RotatingFileHandler itself never rotates when it keeps nothing
            self.stream.truncate(0)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the last flush, to a full disk; the file is closed all the same
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002 - logging's name
        self.lost += 1
        if self.lost == 1 and sys.stderr is not None:
            error = sys.exc_info()[1]
            sys.stderr.write(f"log records are lost: {self.baseFilename}: {_safe(str(error))}\n")


class Logs:
    """The logging of this process, from `start` to `close`."""

    def __init__(self, handlers: tuple[logging.Handler, ...], level: str) -> None:
        self._handlers = handlers
        self._root = logging.getLogger()
        self._root_level = self._root.level
        # Other people's libraries speak up only when something is wrong.
        self._root.setLevel(logging.WARNING)
        for handler in handlers:
            self._root.addHandler(handler)
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Change the least important level that is logged: debug, info, warning or error."""
        for name in OWN_LOGGERS:
            logging.getLogger(name).setLevel(_LEVELS[level])

    def close(self) -> None:
        """End it; for tests, and for a process that goes on without."""
        for handler in self._handlers:
            self._root.removeHandler(handler)
            handler.close()
        self._root.setLevel(self._root_level)
        for name in OWN_LOGGERS:
            logging.getLogger(name).setLevel(logging.NOTSET)


def start_logs(
    level: str,
    *,
    file: Path | None = None,
    file_limit_bytes: int = 10 * 1024 * 1024,
    files_kept: int = 3,
    stderr: TextIO | None = None,
    more: tuple[logging.Handler, ...] = (),
) -> Logs:
    """Send log records to stderr (short lines on a terminal, JSON elsewhere), to `file`, and to `more` handlers.

    The directory of `file` must exist. `more` is for `Metrics.log_handler()`.
    """
    stream = stderr if stderr is not None else sys.stderr
    to_stderr = logging.StreamHandler(stream)
    to_stderr.setFormatter(_formatter_for(stream))
    handlers: list[logging.Handler] = [to_stderr, *more]
    if file is not None:
        to_file = _PrivateRotatingFile(file, file_limit_bytes, files_kept)
        to_file.setFormatter(JsonFormatter())
        handlers.append(to_file)
    return Logs(tuple(handlers), level)


def _formatter_for(stream: TextIO) -> logging.Formatter:
    if stream.isatty():
        return TerminalFormatter()
    return JournalFormatter() if _is_journal(stream) else JsonFormatter()


def _is_journal(stream: TextIO) -> bool:
    """Whether `stream` is the journal's socket: systemd.exec(5) gives its device and inode in JOURNAL_STREAM."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
