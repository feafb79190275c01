"""Starting one child, or adopting a running one, and what can be seen of it from outside."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

import msgspec
from codex_control.errors import ChildFailed, CodexUnusable
from codex_control.paths import checked_socket_path

from codex_supervisor.child import logfile, processes
from codex_supervisor.child.exitwatch import ExitStatus, ProcessHandle
from codex_supervisor.child.identity import verify
from codex_supervisor.child.locate import CodexBinary
from codex_supervisor.child.logfile import rotate
from codex_supervisor.child.processes import ResourceSample
from codex_supervisor.store.records import ChildRecord

__all__ = [
    "ChildProcess",
    "ChildSpec",
    "ResourceSample",
    "adopt",
    "arguments",
    "pending_record",
    "remove_socket",
    "rotate",
    "spawn",
]

_log = logging.getLogger(__name__)

# Enters the cgroup before it becomes Codex, so that nothing can be forked outside of it. A constant: what varies comes
# as arguments. The first is the file `cgroup.procs`, in which 0 means the writer itself (cgroups(7)).
_ENTER_CGROUP = 'echo 0 > "$0" && exec "$@"'


@dataclass(frozen=True)
class ChildSpec:
    """Everything that a child is started from.

    `environment` is complete (see `child_environment`) and holds `token`. `overrides` are Codex's configuration
    overrides, each "key=value" with a TOML value; `demo_overrides` are those among them that lead to the demo model.
    `cgroup` is a directory delegated to us, for this child alone.
    """

    instance: str
    generation: int
    token: str
    binary: CodexBinary
    socket: Path
    environment: Mapping[str, str]
    overrides: tuple[str, ...]
    stderr_log: Path
    cwd: str
    cgroup: Path | None = None
    demo_overrides: tuple[str, ...] = ()


def arguments(spec: ChildSpec) -> list[str]:
    """Return the child's command line. No secret belongs into it: every user can read it."""
    words = [spec.binary.path, "app-server", "--listen", f"unix://{checked_socket_path(spec.socket)}"]
    for override in spec.overrides:
        words += ["-c", override]
    return words


def pending_record(spec: ChildSpec, *, started_ns: int) -> ChildRecord:
    """Return the record to commit before the spawn: without a pid, to be found by its token."""
    return ChildRecord(
        token=spec.token,
        instance=spec.instance,
        generation=spec.generation,
        socket=str(spec.socket),
        boot_id=processes.boot_id(),
        codex_version=spec.binary.version,
        started_ns=started_ns,
        cgroup=str(spec.cgroup or ""),
        demo_overrides=spec.demo_overrides,
    )


class ChildProcess:
    """A running child. `exited` is set once it has ended, also for an adopted one (its status is unknown then).

    Wait for `exited` through `asyncio.wait` or `asyncio.shield`: a cancelled wait must not cancel it for all.
    """

    def __init__(
        self, record: ChildRecord, handle: ProcessHandle, *, stderr_log: Path | None, cgroup: Path | None, adopted: bool
    ) -> None:
        self._record = record
        self._handle = handle
        self._stderr_log = stderr_log
        self.cgroup = cgroup
        self.adopted = adopted
        self.exited: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        handle.on_exit(self._on_exit)

    def __repr__(self) -> str:
        state = str(self.exited.result()) if self._has_exited() else "adopted" if self.adopted else "running"
        record = self._record
        return f"<ChildProcess {record.instance} generation={record.generation} pid={record.pid} {state}>"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._record.pid

    @property
    def start_time(self) -> int:
        """See `processes.ProcessInfo`."""
        return self._record.start_time

    @property
    def token(self) -> str:
        """What marks it and everything that it starts."""
        return self._record.token

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return Path(self._record.socket)

    def record(self, *, started_ns: int | None = None) -> ChildRecord:
        """Return what the store keeps of it; `started_ns` is wall-clock time."""
        if started_ns is None:
            return self._record
        return msgspec.structs.replace(self._record, started_ns=started_ns)

    def signal(self, number: Signals) -> bool:
        """Signal the process itself, not what it started (`tree.py` does that). False where it is gone."""
        return self._handle.signal(number)

    def stderr_tail(self, lines: int) -> list[str]:
        """Return the last lines that it wrote; see `logfile.tail`."""
        return logfile.tail(self._stderr_log, lines) if self._stderr_log is not None else []

    def rotate_log(self, limit_bytes: int = logfile.DEFAULT_LIMIT_BYTES, keep: int = logfile.DEFAULT_KEEP) -> bool:
        """Keep its output file small; call it now and then. See `logfile.rotate`."""
        return rotate(self._stderr_log, limit_bytes, keep) if self._stderr_log is not None else False

    def sample(self) -> ResourceSample | None:
        """Return what the process itself uses now (two reads of /proc, or one ps), None where it is gone."""
        return None if self._has_exited() else processes.sample(self.pid)

    def close(self) -> None:
        """Stop watching and let the process be. `exited` is cancelled where it is not set."""
        self._handle.close()
        self.exited.cancel()

    def _has_exited(self) -> bool:
        return self.exited.done() and not self.exited.cancelled()

    def _on_exit(self, status: ExitStatus) -> None:
        self._handle.close()
        if not self.exited.done():
            self.exited.set_result(status)


async def spawn(spec: ChildSpec) -> ChildProcess:
    """Start a child. It has a session of its own, umask 077, no input, and its output in `spec.stderr_log`.

    Takes about 1 ms, in which the loop stands still; the child listens some 30 ms later (see `AppServer.connect`).
    Raises `CodexUnusable` where the binary cannot be run, `ChildFailed` where the system refuses a process, a file or
    the working directory.
    """
    words = arguments(spec)
    if spec.cgroup is not None:
        words = ["/bin/sh", "-c", _ENTER_CGROUP, str(spec.cgroup / "cgroup.procs"), *words]
    remove_socket(spec.socket)
    try:
        with contextlib.suppress(OSError):
            # A full disk must not keep the child down; the file just stays as it is.
            rotate(spec.stderr_log)
        output = logfile.open_append(spec.stderr_log)
    except OSError as error:
        raise ChildFailed(
            what=f"the output file {spec.stderr_log} cannot be opened",
            why=error.strerror or str(error),
            next_step="make its directory writable",
        ) from error
    try:
        process = subprocess.Popen(  # noqa: ASYNC220 (vfork and exec: see above; asyncio's own costs a thread for each)
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=spec.cwd,
            env=dict(spec.environment),
            start_new_session=True,
            umask=0o077,
            close_fds=True,
        )
    except OSError as error:
        raise _spawn_error(spec, error) from error
    finally:
        os.close(output)
    try:
        handle = ProcessHandle.open(process.pid)
    except OSError as error:
        # Out of file descriptors: nobody would hear of its end.
        process.kill()
        process.wait()
        raise _spawn_error(spec, error) from error
    # The handle reaps the child. A Popen that is collected unreaped would do it first, and warn.
    process.returncode = 0
    if handle is None:  # Unreaped, so it must be there: somebody else reaps our children.
        raise ChildFailed(what=f"the child {process.pid} was lost", why="its exit status was taken by somebody else")
    info = processes.read_process(process.pid)
    pending = pending_record(spec, started_ns=0)
    record = msgspec.structs.replace(pending, pid=process.pid, start_time=info.start_time if info is not None else 0)
    return ChildProcess(record, handle, stderr_log=spec.stderr_log, cgroup=spec.cgroup, adopted=False)


def adopt(record: ChildRecord, *, stderr_log: Path | None = None) -> ChildProcess:
    """Take over a running child of an earlier supervisor.

    Raises `ChildFailed` unless the process is verified to be that child; nothing is signalled then.
    """
    handle = ProcessHandle.open(record.pid) if record.pid > 0 else None
    # Held first and verified then: from here on the pid cannot become another's unnoticed.
    verdict = verify(record) if handle is not None else "gone"
    if handle is None or verdict != "same":
        if handle is not None:
            handle.close()
        raise ChildFailed(
            what=f"the child {record.pid} of {record.instance} cannot be adopted",
            why="it is gone" if verdict == "gone" else "its pid belongs to another process now",
            next_step="start a new child",
        )
    cgroup = Path(record.cgroup) if record.cgroup else None
    return ChildProcess(record, handle, stderr_log=stderr_log, cgroup=cgroup, adopted=True)


def remove_socket(socket: Path) -> None:
    """Remove what a killed child left: its socket, and the one in /tmp that Codex made it a link to.

    Only a socket of ours is removed, and only the link itself where it points anywhere else.
    """
    with contextlib.suppress(OSError):
        target = Path(os.readlink(socket))  # noqa: PTH115 (Path.readlink says the same in more words)
        status = target.lstat()
        if target.is_absolute() and stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid():
            target.unlink()
    with contextlib.suppress(OSError):
        status = socket.lstat()
        if stat.S_ISLNK(status.st_mode) or stat.S_ISSOCK(status.st_mode):
            socket.unlink()


def _spawn_error(spec: ChildSpec, error: OSError) -> ChildFailed | CodexUnusable:
    why = error.strerror or str(error)
    if error.filename == spec.cwd and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
        return ChildFailed(
            what=f"the child cannot work in {spec.cwd}", why=why, next_step="choose a directory that exists"
        )
    if error.errno in (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ETXTBSY):
        return CodexUnusable(
            what=f"{spec.binary.path} cannot be run", why=why, next_step="run `codexctl doctor`, and reinstall Codex"
        )
    return ChildFailed(what="no child can be started", why=why, next_step="free processes, memory or open files")
