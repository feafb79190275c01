"""The configuration as the service reads it, at its start and at each reload."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from codex_supervisor.config.model import Config


def load_service_config(path: Path, *, demo_model: bool) -> Config:
    """Read the file, if there is one; `demo_model` stands above its `codex.demo_model`. Raises `BadConfig`."""
    config = _load(path)
    if demo_model:
        config = msgspec.structs.replace(config, codex=msgspec.structs.replace(config.codex, demo_model=True))
    return config


def _load(path: Path) -> Config:
    # Who has no file needs no YAML: 1.4 MB.
    try:
        os.lstat(path)
    except FileNotFoundError:
        return Config()
    except OSError:
        pass  # what is wrong with it is said below
    from codex_supervisor.config.reading import load_config

    return load_config(path)
