"""Where the turns of an instance run that was named by itself, not by its workspace."""

from __future__ import annotations

from codexctl.instance_ref import Named, git_root, working_directory


def fallback_directory(named: Named) -> str:
    """The directory that the turn runs in where the instance has none: a new one keeps to it. Costs no call."""
    return "" if named.kind == "workspace" else str(git_root(working_directory()))
