"""The running gateway as the commands of `codex-gateway` see it: whether there is one, and its admin pages."""

from __future__ import annotations

import contextlib
import http.client
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from codex_control.errors import BadInput, CodexError, NotFound, ServiceUnavailable
from codex_control.gateway_paths import running_pid
from codex_control.service.clock import SystemClock

from codex_gateway.ingress.tokens import Tokens
from codex_gateway.paths import GatewayPaths

T = TypeVar("T")

TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 64 << 20


class RunningGateway:
    """The gateway of this user that runs now."""

    def __init__(self, pid: int, url: str, token: str) -> None:
        self.pid = pid
        self.url = url
        self._token = token

    def __repr__(self) -> str:
        return f"<RunningGateway {self.pid} {self.url}>"

    @classmethod
    def find(cls, paths: GatewayPaths) -> RunningGateway | None:
        """The gateway; None where none runs, or one just starts or stops.

        The address counts only while its writer holds the lock: after that the port may be another user's, who would be
        glad of the token. Raises `NotFound` where the admin token was revoked.
        """
        pid = running_pid(paths)
        if pid is None:
            return None
        try:
            url = paths.address_file.read_text().strip()
        except OSError:
            return None
        return cls(pid, url, admin_token(paths)) if url else None

    @classmethod
    def needed(cls, paths: GatewayPaths) -> RunningGateway:
        """The gateway. Raises `ServiceUnavailable` where none runs."""
        found = cls.find(paths)
        if found is None:
            raise ServiceUnavailable("no gateway runs", next_step="start it with `codex-gateway serve`")
        return found

    def get(self, path: str, kind: type[T]) -> T:
        """GET an admin page. Raises `ServiceUnavailable`, or what the gateway says is wrong."""
        return self._ask("GET", path, None, kind, TIMEOUT_S)

    def post(self, path: str, value: Any, kind: type[T], *, timeout_s: float = TIMEOUT_S) -> T:
        """POST to an admin page. Raises as `get` does."""
        return self._ask("POST", path, msgspec.json.encode(value), kind, timeout_s)

    def _ask(self, method: str, path: str, body: bytes | None, kind: type[T], timeout_s: float) -> T:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=timeout_s)
        with contextlib.closing(connection):
            try:
                connection.request(method, path, body, {"Authorization": f"Bearer {self._token}"})
                response = connection.getresponse()
                data = response.read(MAX_ANSWER_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise ServiceUnavailable(
                    f"the gateway (pid {self.pid}) does not answer on {self.url}",
                    why=str(error) or type(error).__name__,
                    next_step="look into its log, or start it anew",
                ) from error
        if response.status != 200:
            raise _error(response.status, data)
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.MsgspecError as error:
            raise CodexError(
                "the gateway's answer cannot be read",
                why=str(error),
                next_step="it may be of another version: start it anew",
            ) from error


def admin_token(paths: GatewayPaths) -> str:
    """The token of the gateway's own commands. Raises `NotFound`."""
    return tokens_of(paths.token_dir).text_of("admin")


def tokens_of(directory: Path) -> Tokens:
    """The client tokens; the first ones are made where there are none yet. Raises `UnsafePath`."""
    found = Tokens(directory, SystemClock())
    found.open()
    return found


def _error(status: int, data: bytes) -> CodexError:
    try:
        message = str(msgspec.json.decode(data)["error"]["message"]).removesuffix(".")
    except (msgspec.MsgspecError, KeyError, TypeError):
        message = f"the gateway answered with status {status}"
    match status:
        case 400:
            return BadInput(message)
        case 404:
            return NotFound(message)
        case 401 | 403:
            return ServiceUnavailable(
                message, why="the token `admin` is not in force", next_step="`codex-gateway tokens list` shows all"
            )
        case _:
            return ServiceUnavailable(message)
