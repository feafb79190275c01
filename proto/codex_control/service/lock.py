"""The lock that makes this supervisor the only one of its user; taken before gRPC binds its socket."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from codex_control.errors import AlreadyRunning, UnsafePath

# The descriptor of a held lock, handed over when the supervisor replaces its own program: there is no moment in which
# another one could take it.
_HANDED_OVER = "CODEX_SUPERVISOR_LOCK_FD"


class SupervisorLock:
    """An flock on a file that holds the holder's pid. The kernel lets it go when the process ends, however it does.

    `also` is a second file that is locked with it: only the first is handed over, the second is taken anew.
    """

    def __init__(
        self, path: Path, *, also: Path | None = None, what: str = "supervisor", status: str = "codexctl status"
    ) -> None:
        self.path = path
        self._also = SupervisorLock(also, what=what, status=status) if also is not None else None
        self._what = what
        self._status = status
        self._fd = -1

    def acquire(self) -> None:
        """Take the lock; raise `AlreadyRunning`, which names the holder, or `UnsafePath`."""
        self._fd = self._handed_over_fd()
        try:
            if self._fd < 0:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self._fd = os.open(self.path, flags, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._fd, 32).decode(errors="replace").strip()
            self.release()
            raise AlreadyRunning(
                what=f"another {self._what} of this user runs already",
                why=f"pid {holder} holds {self.path}" if holder else f"{self.path} is locked",
                next_step=f"use that one (`{self._status}`), or stop it first"
                + (f" (`kill {holder}`)" if holder else ""),
            ) from error
        except OSError as error:
            self.release()
            raise UnsafePath(
                what=f"the lock {self.path} cannot be taken",
                why=error.strerror or str(error),
                next_step="check its directory",
            ) from error
        with contextlib.suppress(OSError):  # a full disk: the lock is held all the same, it just names nobody
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        if self._also is not None:
            try:
                self._also.acquire()
            except BaseException:
                self.release()
                raise

    def _handed_over_fd(self) -> int:
        """Return the descriptor of our file that the program before this one left open, or -1."""
        handed_over = os.environ.pop(_HANDED_OVER, "")
        try:
            fd = int(handed_over)
            if os.path.samestat(os.fstat(fd), self.path.lstat()):
                os.set_inheritable(fd, False)
                return fd
        except (ValueError, OverflowError, OSError):
            pass  # nothing was handed over, or it is not there any more
        return -1

    def hand_over(self) -> None:
        """Leave the lock held for the program that replaces this one."""
        os.set_inheritable(self._fd, True)
        os.environ[_HANDED_OVER] = str(self._fd)

    def release(self) -> None:
        """Let it go."""
        if self._also is not None:
            self._also.release()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
