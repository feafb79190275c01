"""Checks of the surroundings: each says what was found and, where needed, the fix.

Map: `examining` all of them, `codex` those of Codex, `system` those of the machine, `check` what a check is.
"""
