"""One real request through the gateway, with what a client's settings say: the proof that it will get through."""

from __future__ import annotations

import contextlib
import http.client
import time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
from codex_control.errors import BadConfig, BadInput, CodexError, ServiceUnavailable

from codex_gateway.dialect.neutral import Dialect
from codex_gateway.route.health import smallest_request
from codex_gateway.route.learned import NOTHING

TIMEOUT_S = 120.0
MAX_ANSWER_BYTES = 4 << 20


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What came back."""

    url: str
    model: str
    status: int
    first_byte_s: float
    duration_s: float


def prove(dialect: Dialect, url: str, token: str, model: str) -> Proof:
    """Ask for a short answer and read it to its end.

    Raises `BadConfig` where the token is refused, `ServiceUnavailable` where nothing listens, `BadInput` where no model
    is known, `CodexError` with the gateway's own words where no endpoint answers.
    """
    model = model or _first_model(url, token)
    body = smallest_request(dialect, model, NOTHING) | {"stream": True}
    began = time.monotonic()
    with _asked("POST", url, token, msgspec.json.encode(body)) as response:
        first_byte_s = time.monotonic() - began
        data = response.read(MAX_ANSWER_BYTES)
        status = response.status
    if status != 200:
        raise _error(status, data)
    # An error in mid-stream comes with status 200.
    if b"event: error" in data or b'"type":"response.failed"' in data:
        raise CodexError("the endpoint began to answer and failed", next_step="`codex-gateway requests` says more")
    return Proof(url=url, model=model, status=status, first_byte_s=first_byte_s, duration_s=time.monotonic() - began)


def _first_model(url: str, token: str) -> str:
    parts = urlsplit(url)
    path = parts.path.rsplit("/", 1)[0] + "/models"
    with _asked("GET", urlunsplit((parts.scheme, parts.netloc, path, "", "")), token, None) as response:
        data = response.read(MAX_ANSWER_BYTES)
        if response.status != 200:
            raise _error(response.status, data)
    try:
        listed: list[dict[str, Any]] = msgspec.json.decode(data)["data"]
        return str(listed[0]["id"])
    except (msgspec.MsgspecError, LookupError, TypeError):
        raise BadInput(
            "nothing says which model to ask for",
            why="the client's settings name none, and neither do the endpoints",
            next_step="name one: `--model NAME`",
        ) from None


@contextlib.contextmanager
def _asked(method: str, url: str, token: str, body: bytes | None) -> Any:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with contextlib.closing(connection):
        try:
            connection.request(method, parts.path, body, headers)
            yield connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise ServiceUnavailable(
                f"nothing answers on {parts.scheme}://{parts.netloc}",
                why=str(error) or type(error).__name__,
                next_step="start the gateway with `codex-gateway serve`",
            ) from error


def _error(status: int, data: bytes) -> CodexError:
    try:
        message = str(msgspec.json.decode(data)["error"]["message"]).removesuffix(".")
    except (msgspec.MsgspecError, LookupError, TypeError):
        message = "it said nothing that can be read"
    if status in (401, 403):
        return BadConfig(
            "the gateway refused the token of the client's settings",
            why=message,
            next_step="run `codex-gateway setup` for this client again",
        )
    return CodexError(
        f"the gateway answered with status {status}",
        why=message,
        next_step="`codex-gateway requests --failed` says more",
    )
