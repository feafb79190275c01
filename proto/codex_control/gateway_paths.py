"""Where the gateway's configuration, records and lock are, and whether it runs: for the gateway and for the supervisor,
whose children may use it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from codex_control.paths import xdg_places
from codex_control.service.lock_holder import holder_of

NAME = "codex-gateway"


@dataclass(frozen=True)
class GatewayPaths:
    """The places of one user's gateway.

    All are absolute. Nothing is created or checked until `codex_control.paths.make_private_dir` is called.
    """

    config_file: Path
    state_dir: Path
    runtime_dir: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> GatewayPaths:
        """Work the places out from `HOME`, the `XDG_*` variables and the overrides `CODEX_GATEWAY_CONFIG` (a file),
        `CODEX_GATEWAY_STATE_DIR` and `CODEX_GATEWAY_RUNTIME_DIR`.

        Raises `BadConfig` where neither `HOME` nor the needed variable is set.
        """
        return cls(*xdg_places(environ, NAME, "CODEX_GATEWAY"))

    @property
    def lock_file(self) -> Path:
        """The flock that makes the gateway the only one of its user; it holds the holder's pid."""
        return self.runtime_dir / "gateway.lock"

    @property
    def address_file(self) -> Path:
        """The URL that the running gateway listens on. It counts only while the lock is held (`running_pid`): after
        that the port may be another user's, who would be glad of prompts and tokens.
        """
        return self.runtime_dir / "address"

    @property
    def database(self) -> Path:
        """The SQLite store: records, learned facts, client tokens (as hashes)."""
        return self.state_dir / "gateway.db"

    @property
    def token_dir(self) -> Path:
        """The client tokens made at the first start, one 0600 file each."""
        return self.state_dir / "tokens"

    def token_file(self, name: str) -> Path:
        """The text of the token `name` that the gateway made by itself."""
        return self.token_dir / f"{name}.token"

    @property
    def backup_dir(self) -> Path:
        """Clients' settings as they were before `setup`."""
        return self.state_dir / "setup"

    @property
    def log_dir(self) -> Path:
        """The gateway's log."""
        return self.state_dir / "log"


def running_pid(paths: GatewayPaths) -> int | None:
    """Return the process that holds the gateway's lock; None where no gateway runs."""
    return holder_of(paths.lock_file)
