"""Calls about tasks that may be made again when their answer was lost."""

from __future__ import annotations

import time
from typing import TypeVar

from codex_control.errors import CodexError, StoreUnavailable
from google.protobuf.message import Message

from codexctl.client import QUICK_S
from codexctl.failures import is_lost_connection
from codexctl.feed import Reconnecting
from codexctl.light_grpc import grpc
from codexctl.output import say
from codexctl.session import Session

Answer = TypeVar("Answer", bound=Message)


def call_safely(
    session: Session, method: str, request: Message, response: type[Answer], *, next_step: str = ""
) -> Answer:
    """Call `Service.Method`, which does no more when it is called twice; over a lost connection it is called again.

    Raises the `CodexError` that the service answered with, or `ServiceUnavailable` with `next_step` where it stays
    away.
    """
    client = session.client(start=True)
    reconnecting = Reconnecting(lambda start: session.client(start=start))
    lost_at: float | None = None
    while True:
        try:
            return client.call(method, request, response, timeout_s=QUICK_S)
        except CodexError as error:
            cause = error.__cause__
            lost = isinstance(cause, grpc.RpcError) and is_lost_connection(cause)
            # A service that was just started again may not have reached its database yet.
            if not lost and not (isinstance(error, StoreUnavailable) and lost_at is not None):
                raise
            why = error.why or error.what
        if lost_at is None:
            lost_at = time.monotonic()
            say(f"the connection to the service was lost, trying again: {why}")
        client = reconnecting.again(lost_at, why, next_step or "`codexctl doctor` shows what is wrong")
