"""A small file for each Claude Code session that is shown now: how its instance is.

Claude Code runs its status line after every message, too often for a command that speaks gRPC. The files are 0600 in
the runtime directory; a client reads one and looks whether the control socket answers.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
from codex_control.paths import make_private_dir
from codex_control.task_id import task_prefix

from codex_supervisor.instance.fleet import Fleet
from codex_supervisor.instance.shell import InstanceShell
from codex_supervisor.instance.states import running_turn, state_name

_log = logging.getLogger(__name__)

# A person sees no difference, and a turn changes its instance many times a second.
_BETWEEN_S = 0.2


class SessionStatus(msgspec.Struct, frozen=True):
    """What a status file holds, as JSON. `turn` is empty where none runs, `queued` counts those that wait, and `tasks`
    the session's tasks that run on this machine.
    """

    instance: str
    state: str
    profile: str
    turn: str
    queued: int
    tasks: int


class StatusFiles:
    """Keeps the files of `folder` as the fleet is. What cannot be written costs a status line and nothing else."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self._fleet = fleet
        self._folder = folder
        self._written: dict[str, SessionStatus] = {}

    async def keep(self) -> None:
        """Follow the fleet until cancelled. The files stay: a client sees by the socket that the service is gone."""
        make_private_dir(self._folder)
        for left in self._folder.iterdir():
            left.unlink(missing_ok=True)
        while True:
            news = self._fleet.news.next()
            self.bring_up_to_date()
            await news.wait()
            await asyncio.sleep(_BETWEEN_S)

    def bring_up_to_date(self) -> None:
        """Write what has changed, and remove the files of sessions that nobody shows any more."""
        wanted = {
            lease.session: shell
            for shell in self._fleet.shells.values()
            for lease in shell.record.leases
            if lease.gone_ns is None
        }
        running = [shell.record.task.id for shell in self._fleet.of_tasks() if shell.record.task is not None]
        try:
            for session in self._written.keys() - wanted.keys():
                (self._folder / f"{session}.json").unlink(missing_ok=True)
                del self._written[session]
            for session, shell in wanted.items():
                status = _status(shell, running)
                if self._written.get(session) != status:
                    self._write(session, status)
                    self._written[session] = status
        except OSError as error:
            _log.warning("status_file_not_written", extra={"folder": str(self._folder), "why": str(error)})

    def _write(self, session: str, status: SessionStatus) -> None:
        # The id of a session was checked when it was bound: it is a plain name.
        fresh = self._folder / f"{session}.new"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, msgspec.json.encode(status))
        finally:
            os.close(descriptor)
        fresh.replace(self._folder / f"{session}.json")


def _status(shell: InstanceShell, running_tasks: Sequence[str]) -> SessionStatus:
    prefix = task_prefix(shell.record.id)
    return SessionStatus(
        instance=shell.record.id,
        state=state_name(shell.state),
        profile=shell.record.settings.profile or shell.house.config.defaults.profile,
        turn=running_turn(shell.state) or "",
        queued=len(shell.core.queue),
        tasks=sum(task.startswith(prefix) for task in running_tasks),
    )
