"""Who asked for the demo model keeps it until Codex has a login: the wish is remembered in the state directory.

Where there is no service manager, whoever starts the service again (`codexctl`, after a crash) knows nothing of the
option that it was started with first. Without the demo model, a turn of it that was cut off would ask for ever a
provider that it has no login for.
"""

from __future__ import annotations

from pathlib import Path

from codex_control.paths import Paths, make_private_dir


def is_remembered(paths: Paths) -> bool:
    """Whether an earlier service answered with the demo model because Codex had no login."""
    return _mark(paths).exists()


def remember(paths: Paths) -> None:
    """Answer with the demo model from the next start on too."""
    make_private_dir(paths.state_dir)
    _mark(paths).touch(mode=0o600)


def forget(paths: Paths) -> None:
    """Answer with the real model from now on."""
    _mark(paths).unlink(missing_ok=True)


def _mark(paths: Paths) -> Path:
    return paths.state_dir / "demo-until-login"
