"""Which profile a turn runs with."""

from __future__ import annotations

from codex_control.errors import NotFound
from codex_control.service.nearest import did_you_mean

from codex_supervisor.config.model import Config
from codex_supervisor.config.profiles import BUILT_IN_PROFILES, Profile


def all_profiles(config: Config) -> dict[str, Profile]:
    """Every profile that may be named: the built-in ones as the configuration changed them, then the user's own."""
    return {**BUILT_IN_PROFILES, **config.profiles}


def profile(config: Config, name: str) -> Profile:
    """The profile called `name`; the configured default where `name` is empty.

    Raises `NotFound`, which names the nearest profile and all of them.
    """
    profiles = all_profiles(config)
    wanted = name or config.defaults.profile
    if wanted in profiles:
        return profiles[wanted]
    raise NotFound(
        what=f"there is no profile {wanted[:200]!r}",
        why=f"the profiles are {', '.join(profiles)}",
        next_step=did_you_mean(wanted, profiles) or "name one of them, or add it under `profiles` in config.yaml",
    )
