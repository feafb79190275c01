"""Lets a child use the model gateway of the same user (`codex.provider: gateway`): where it listens and the token for
Codex, as the gateway itself has written them down.

They are read at each spawn, so that a gateway that was started anew on another port is found by the next child.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from codex_control.errors import ChildFailed, UnsafePath
from codex_control.gateway_paths import GatewayPaths, running_pid

PROVIDER = "codex_gateway"
"""What Codex is told that the provider is called."""
TOKEN_NAME = "CODEX_GATEWAY_TOKEN"  # noqa: S105 - the name of a variable
TOKEN_FOR = "codex"  # noqa: S105 - a token's name, not its text
"""The gateway's own name of the token that it makes for Codex at its first start."""

_ADDRESS = re.compile(r"http://(?:127\.0\.0\.1|\[::1\]|localhost):[0-9]{1,5}")
_TOKEN = re.compile(r"[\x21-\x7e]{20,200}")
_MAX_BYTES = 1024


class GatewayAway(ChildFailed):
    """No gateway runs, so no child can have a model yet."""


@dataclass(frozen=True)
class GatewayAccess:
    """What a child needs to use the gateway."""

    url: str
    """Where it listens, without a path."""
    token: str = field(repr=False)

    @property
    def overrides(self) -> tuple[str, ...]:
        """The `key=value` settings for Codex, each for one `-c`. The token is not among them: every user sees them."""
        provider = {
            "name": "codex-gateway",
            "base_url": f"{self.url}/v1",
            "wire_api": "responses",
            "env_key": TOKEN_NAME,
        }
        # Each of these values reads the same in JSON and in TOML.
        settings = (f"model_providers.{PROVIDER}.{key}={json.dumps(value)}" for key, value in provider.items())
        return (f'model_provider="{PROVIDER}"', *settings)

    @property
    def environment(self) -> dict[str, str]:
        """The variable that the child must have. A secret: never log it."""
        return {TOKEN_NAME: self.token}


def find_gateway(environ: Mapping[str, str]) -> GatewayAccess:
    """Find the running gateway of this user.

    Raises `GatewayAway` where none runs: the start is put off, and what waits for it goes on waiting. Raises
    `ChildFailed` where it has no token for Codex, and `UnsafePath` where somebody else may have written a file of it.
    """
    paths = GatewayPaths.from_environment(environ)
    url = _read(paths.address_file) if running_pid(paths) is not None else ""
    if not _ADDRESS.fullmatch(url):
        raise GatewayAway(
            "no gateway runs",
            why="codex.provider is `gateway`, so children get no model without it",
            next_step="start it with `codex-gateway serve`, or as a service with `codex-gateway install --now`",
        )
    file = paths.token_file(TOKEN_FOR)
    token = _read(file)
    if not _TOKEN.fullmatch(token):
        raise ChildFailed(
            "the gateway has no token for Codex",
            why=f"{file} cannot be read: it was revoked, or its gateway has another state directory",
            next_step="look with `codex-gateway tokens list`; with CODEX_GATEWAY_STATE_DIR set for the gateway, set it "
            "for the supervisor too and install its service again",
        )
    return GatewayAccess(url, token)


def _read(path: Path) -> str:
    """The one line in a private file of ours; empty where there is none. Raises `UnsafePath`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022 or not stat.S_ISREG(status.st_mode):
            raise UnsafePath(
                f"{path} may have been written by somebody else",
                why=f"its owner is uid {status.st_uid}, its mode {stat.S_IMODE(status.st_mode):04o}",
                next_step="remove it, and start the gateway anew",
            )
        return file.read(_MAX_BYTES).decode("utf-8", "replace").strip()
