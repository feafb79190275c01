"""Says what a verb waits for, where it waits for longer than a person expects, and where its own time is up."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Literal, Self

from codex_control.errors import CodexError, TimedOut
from codex_control.v1.instances_pb2 import (
    INSTANCE_STATE_BACKOFF,
    INSTANCE_STATE_STARTING,
    GetInstanceRequest,
    GetInstanceResponse,
    Instance,
    InstanceRef,
)

from codexctl.client import Client
from codexctl.output import say
from codexctl.session import Session

PATIENCE_S = 1.0
_LIMIT_S = 5.0


class WaitNotice:
    """A context in which a verb waits for an instance's child; after a second stderr says what it waits for."""

    def __init__(
        self, session: Session, instance: InstanceRef, *, until: Literal["ready", "gone"], force: bool = False
    ) -> None:
        self._paths, self._instance, self._until, self._force = session.paths, instance, until, force
        self._timer = threading.Timer(PATIENCE_S, self._say)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._timer.join(_LIMIT_S)
        if isinstance(error, TimedOut) and (found := self._look()) is not None:
            raise TimedOut(
                f"the child of {found.id} is not {self._until} yet",
                why=found.detail,
                next_step=f"the wish stands: `codexctl status {found.id}` shows how far it is",
            ) from error

    def _look(self) -> Instance | None:
        # A connection of its own: the other one may be busy with sending.
        client = Client(self._paths.control_socket)
        try:
            request = GetInstanceRequest(instance=self._instance)
            return client.call("Instances.Get", request, GetInstanceResponse, timeout_s=_LIMIT_S).instance
        except CodexError:
            return None  # whoever waits hears of it
        finally:
            client.close()

    def _say(self) -> None:
        found = self._look()
        if found is None:
            return
        if found.state in (INSTANCE_STATE_STARTING, INSTANCE_STATE_BACKOFF):
            say("waiting until the child is ready" + (f": {found.detail}" if found.detail else ""))
        elif found.turn_id and not self._force:
            say(f"waiting for turn {found.turn_id} to end; --force cuts it off (Ctrl-C leaves, and the wish stands)")
        else:
            say("waiting until every process of the child is gone")
