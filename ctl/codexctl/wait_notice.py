"""Says what a verb waits for, where it waits for longer than a person expects."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from codex_control.errors import CodexError
from codex_control.v1.instances_pb2 import GetInstanceRequest, GetInstanceResponse, InstanceRef

from codexctl.client import Client
from codexctl.output import say
from codexctl.session import Session

PATIENCE_S = 1.0
_LIMIT_S = 5.0


class WaitNotice:
    """A context in which a verb waits for an instance to come down; after a second stderr says what it waits for."""

    def __init__(self, session: Session, instance: InstanceRef, *, force: bool) -> None:
        self._paths, self._instance, self._force = session.paths, instance, force
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

    def _say(self) -> None:
        # A connection of its own: the other one may be busy with sending.
        client = Client(self._paths.control_socket)
        try:
            request = GetInstanceRequest(instance=self._instance)
            turn = client.call("Instances.Get", request, GetInstanceResponse, timeout_s=_LIMIT_S).instance.turn_id
        except CodexError:
            return  # whoever waits hears of it
        finally:
            client.close()
        if turn and not self._force:
            say(f"waiting for turn {turn} to end; --force cuts it off (Ctrl-C leaves, and the wish stands)")
        else:
            say("waiting until every process of the child is gone")
