"""A home for the real Codex that shares nothing with the person's own: no login, no settings, no history."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from codex_supervisor.demo.catalog import model_catalog

REPOSITORY = Path(__file__).resolve().parents[2]
# Not below /tmp: Codex refuses to put its helper binaries into a home there.
HOMES = REPOSITORY / "build" / "test-homes"

STUB_MODEL = "stub-model"
STUB_KEY_NAME = "STUB_KEY"
STUB_CONTEXT_WINDOW = 100_000

# What is off costs time at every start or turn (about 50 ms a turn altogether) or looks for the outside network.
_CONFIG = """\
model = "{model}"
model_provider = "stub"
model_catalog_json = "{catalog}"
check_for_update_on_startup = false
suppress_unstable_features_warning = true
{top}
[features]
plugins = false
apps = false
shell_snapshot = false
goals = false
multi_agent = false
default_mode_request_user_input = true
[tools.update_plan]
enabled = true
[analytics]
enabled = false
[model_providers.stub]
name = "Stub"
base_url = "{base_url}"
wire_api = "responses"
env_key = "{key_name}"
{provider}
"""


@dataclass(frozen=True)
class CodexHome:
    """The directories of one test: all below `root`, none of them shared."""

    root: Path

    @property
    def home(self) -> Path:
        """HOME."""
        return self.root / "home"

    @property
    def codex_home(self) -> Path:
        """CODEX_HOME."""
        return self.root / "codex"

    @property
    def workspace(self) -> Path:
        """An empty directory for turns to work in."""
        return self.root / "workspace"

    @property
    def config_file(self) -> Path:
        """Codex's config.toml."""
        return self.codex_home / "config.toml"

    def configure(self, base_url: str, *, top: str = "", provider: str = "", tail: str = "") -> None:
        """Write config.toml for a model server at `base_url`.

        `top` adds top-level TOML keys, `provider` keys of the provider (such as `request_max_retries = 0`), `tail`
        whole tables.
        """
        catalog = self.codex_home / "models.json"
        catalog.write_text(
            json.dumps(model_catalog(STUB_MODEL, "Stub", "A stub model.", context_window=STUB_CONTEXT_WINDOW))
        )
        text = _CONFIG.format(
            model=STUB_MODEL,
            catalog=catalog,
            base_url=base_url,
            key_name=STUB_KEY_NAME,
            top=top,
            provider=provider,
        )
        self.config_file.write_text(text + tail)

    def environment(self, runtime_dir: Path | None = None, **more: str) -> dict[str, str]:
        """A clean environment for a process of the test: nothing of ours but PATH.

        `runtime_dir` becomes XDG_RUNTIME_DIR: give `short_runtime_dir` where sockets are made.
        """
        environment = {
            "HOME": str(self.home),
            "CODEX_HOME": str(self.codex_home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_STATE_HOME": str(self.home / ".local/state"),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "XDG_DATA_HOME": str(self.home / ".local/share"),
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            STUB_KEY_NAME: "stub-key",
        }
        if runtime_dir is not None:
            environment["XDG_RUNTIME_DIR"] = str(runtime_dir)
        return environment | more


@contextmanager
def codex_home_below(homes: Path = HOMES) -> Iterator[CodexHome]:
    """Make a `CodexHome` and remove it afterwards."""
    homes.mkdir(parents=True, exist_ok=True)
    made = CodexHome(Path(tempfile.mkdtemp(prefix="h", dir=homes)))
    try:
        for directory in (made.home, made.codex_home, made.workspace):
            directory.mkdir(mode=0o700)
        yield made
    finally:
        shutil.rmtree(made.root)


@contextmanager
def short_private_dir() -> Iterator[Path]:
    """A 0700 directory whose path is short enough for Unix sockets below it (107 bytes), removed afterwards."""
    made = Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp"))
    try:
        yield made
    finally:
        shutil.rmtree(made)
