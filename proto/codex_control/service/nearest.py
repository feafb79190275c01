"""Finds the name that somebody probably meant."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(wanted: str, names: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the nearest of `names`, or empty text where none is near."""
    # Seldom wanted, and not small.
    import difflib

    # The bound keeps the comparison cheap for absurdly long input.
    near = difflib.get_close_matches(wanted[:200], list(names), n=1)
    return f"did you mean {near[0]!r}?" if near else ""
