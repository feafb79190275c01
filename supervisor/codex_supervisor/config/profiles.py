"""Profiles: named bundles of reasoning effort, model and instructions.

`high`, `default` and `low` always exist; the configuration may change them and add more.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
from codex_control.service.config_key import text

DEFAULT_PROFILE = "default"


class Effort(enum.StrEnum):
    """How hard the model thinks. Codex passes any text on, so the check is ours.

    Source: the model catalogue inside Codex 0.163 (`low` to `ultra`) and the Responses API (`none`, `minimal`).
    """

    UNSET = ""
    """Codex's own default for the model."""
    NONE = "none"
    """No reasoning."""
    MINIMAL = "minimal"
    """As little as the model can."""
    LOW = "low"
    """Quick answers."""
    MEDIUM = "medium"
    """Most models' own default."""
    HIGH = "high"
    """Hard problems."""
    XHIGH = "xhigh"
    """Harder ones; not every model knows it."""
    MAX = "max"
    """The model's most; not every model knows it."""
    ULTRA = "ultra"
    """Beyond `max`; few models know it."""


class Summary(enum.StrEnum):
    """What the model says about its reasoning."""

    AUTO = "auto"
    """The model's choice."""
    CONCISE = "concise"
    """A few words."""
    DETAILED = "detailed"
    """Everything that the model tells."""
    NONE = "none"
    """Nothing."""


class Sandbox(enum.StrEnum):
    """What the commands that Codex runs may touch."""

    READ_ONLY = "read-only"
    """They may read, not write."""
    WORKSPACE_WRITE = "workspace-write"
    """They may write below the working directory."""
    DANGER_FULL_ACCESS = "danger-full-access"
    """They may do whatever the user may do."""


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named bundle of reasoning effort, model and instructions. Empty text means Codex's own default."""

    effort: Annotated[Effort, text("How hard the model thinks; empty for the model's own default.")] = Effort.UNSET
    model: Annotated[str, text("Model; empty for the one that Codex is configured with.", max_length=200)] = ""
    summary: Annotated[Summary, text("What the model says about its reasoning.")] = Summary.AUTO
    developer_instructions: Annotated[
        str, text("Instructions for the model beside the user's own prompts.", max_length=65_536)
    ] = ""
    sandbox: Annotated[Sandbox, text("What the commands that Codex runs may touch.")] = Sandbox.WORKSPACE_WRITE


BUILT_IN_PROFILES = {
    "high": Profile(effort=Effort.HIGH),
    DEFAULT_PROFILE: Profile(),
    "low": Profile(effort=Effort.LOW),
}
