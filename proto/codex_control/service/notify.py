"""What the supervisor tells systemd: ready, reloading, stopping, a live line for `systemctl status`, and that it lives.

sdnotify sends the datagrams. Around it, three things that it leaves open: it swallows errors, so it is run in its debug
mode and every send says whether the datagram went out; it encodes as Latin-1, while systemd drops anything that is not
UTF-8; and its socket blocks, which would stop our event loop while systemd is busy.

Without `NOTIFY_SOCKET` (a terminal, launchd) everything here does nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import Awaitable, Callable, Mapping

from sdnotify import SystemdNotifier

from codex_control.service.clock import Clock

_log = logging.getLogger(__name__)

# Longest time that one datagram may hold up the event loop; systemd takes them as they come.
SEND_TIMEOUT_S = 0.25
# sd_notify(3): systemd shows one line, and reads datagrams of at most 4096 bytes (NOTIFY_BUFFER_MAX).
MAX_STATUS_BYTES = 1000
# sd_watchdog_enabled(3) recommends a ping at half of the time limit; a third leaves room for one that is late.
PINGS_PER_LIMIT = 3


class Notifier:
    """The line to the service manager. Every method returns whether the manager was told; never raises."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._line: SystemdNotifier | None = None
        self._silent_since: float | None = None

    def __repr__(self) -> str:
        return f"Notifier({os.environ.get('NOTIFY_SOCKET', 'nobody listens')!r}, silent_since={self._silent_since})"

    def ready(self, status: str) -> bool:
        """Say that start-up, or a reload, is done."""
        return self._send("READY=1", _status(status))

    def status(self, text: str) -> bool:
        """Show `text` in `systemctl status`."""
        return self._send(_status(text))

    def reloading(self, status: str) -> bool:
        """Say that a reload has begun; `ready` ends it."""
        # MONOTONIC_USEC is what Type=notify-reload (systemd 253) checks the answer by; others ignore it.
        return self._send("RELOADING=1", f"MONOTONIC_USEC={int(self._clock.monotonic() * 1_000_000)}", _status(status))

    def stopping(self, status: str) -> bool:
        """Say that the end has begun."""
        return self._send("STOPPING=1", _status(status))

    def needs_time(self, extra_s: float, status: str) -> bool:
        """Ask for `extra_s` more seconds, from now, for a long start, reload or stop."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(extra_s * 1_000_000)}", _status(status))

    def alive(self) -> bool:
        """Feed the watchdog."""
        return self._send("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket. Sending opens it again."""
        if self._line is not None and self._line.socket is not None:
            self._line.socket.close()
        self._line = None

    def _send(self, *assignments: str) -> bool:
        if not os.environ.get("NOTIFY_SOCKET"):
            return False
        # Latin-1 turns these characters into the bytes of the UTF-8 text again.
        message = "\n".join(assignments).encode().decode("latin-1")
        error = self._attempt(message)
        if error is not None:
            # A manager that was started anew has a new socket behind the same name.
            self.close()
            error = self._attempt(message)
        if error is None:
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = self._clock.monotonic()
            _log.warning("service_manager_not_told", extra={"said": assignments[0], "error": str(error)})
        return error is None

    def _attempt(self, message: str) -> OSError | None:
        try:
            if self._line is None:
                with warnings.catch_warnings():
                    # sdnotify forgets to close its socket where it cannot connect.
                    warnings.simplefilter("ignore", ResourceWarning)
                    self._line = SystemdNotifier(debug=True)
                self._line.socket.settimeout(SEND_TIMEOUT_S)
            self._line.notify(message)
        except OSError as error:
            return error
        return None


def watchdog_limit_s(environ: Mapping[str, str] = os.environ, pid: int | None = None) -> float | None:
    """Seconds without a ping after which systemd kills us, or None where it does not watch us.

    From `WATCHDOG_USEC` and `WATCHDOG_PID` (sd_watchdog_enabled(3)); `pid` is ours where it is absent. What cannot be
    read counts as absent.
    """
    if environ.get("WATCHDOG_PID", "") not in ("", str(pid or os.getpid())):
        return None
    limit = environ.get("WATCHDOG_USEC", "")
    return int(limit) / 1_000_000 if limit.isascii() and limit.isdigit() and int(limit) > 0 else None


async def feed_watchdog(notifier: Notifier, limit_s: float, answers: Callable[[], Awaitable[object]]) -> None:
    """Tell systemd for ever that we live, from the event loop itself, each time that `answers` has returned.

    `answers` asks something that everything depends on: the store. Where it fails or takes longer than a ping's turn,
    that ping is left out; left out for `limit_s` seconds, systemd kills and restarts us.
    """
    turn_s = limit_s / PINGS_PER_LIMIT
    loop = asyncio.get_running_loop()
    next_at = loop.time()
    while True:
        try:
            await asyncio.wait_for(answers(), turn_s)
        except Exception as error:  # whatever it is, it does not answer; a cancellation is no Exception
            _log.warning("watchdog_ping_left_out", extra={"error": repr(error), "limit_s": limit_s})
        else:
            notifier.alive()
        next_at = max(next_at + turn_s, loop.time())
        await asyncio.sleep(next_at - loop.time())


def _status(text: str) -> str:
    # A line feed would begin the next assignment.
    line = " ".join(text.split())
    return "STATUS=" + line.encode()[:MAX_STATUS_BYTES].decode(errors="ignore")
