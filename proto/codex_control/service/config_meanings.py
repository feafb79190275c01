"""Reads what each member of an enum means, for reference pages."""

from __future__ import annotations

import ast
import enum
import functools
import inspect
import itertools
import textwrap
from typing import cast


@functools.cache
def meanings_of(choices: type[enum.StrEnum]) -> dict[str, str]:
    """Return the text below each member, by its value. Python keeps it in the source alone."""
    body = cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(choices))).body[0]).body
    found = {}
    for member, below in itertools.pairwise(body):
        match member, below:
            case (
                ast.Assign(targets=[ast.Name()], value=ast.Constant(value=str(value))),
                ast.Expr(value=ast.Constant(value=str(meaning))),
            ):
                found[value] = meaning
            case _:
                pass
    return found
