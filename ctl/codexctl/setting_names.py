"""The names of an instance's settings, beside what checks their values: completion needs the names alone."""

from __future__ import annotations

SETTINGS = ("profile", "show_reasoning", "final_only", "approval_policy", "on_interrupted", "cwd")
