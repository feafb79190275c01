"""Where Codex's own directory is."""

from __future__ import annotations

from pathlib import Path

import pytest
from codex_control.errors import BadConfig
from codex_supervisor.codex_home import codex_home


@pytest.mark.parametrize(
    ("configured", "environ", "expected"),
    [
        ("", {"HOME": "/h"}, "/h/.codex"),
        ("", {"HOME": "/h", "CODEX_HOME": "/c"}, "/c"),
        ("/x", {"HOME": "/h", "CODEX_HOME": "/c"}, "/x"),
        ("~/x", {"HOME": "/h"}, "/h/x"),
    ],
)
def test_the_configuration_comes_first_then_the_variable(
    configured: str, environ: dict[str, str], expected: str
) -> None:
    assert codex_home(configured, environ) == Path(expected)


@pytest.mark.parametrize("environ", [{}, {"HOME": "h"}, {"HOME": "/h", "CODEX_HOME": "relative"}])
def test_a_place_that_cannot_be_known_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(BadConfig, match="absolute path"):
        codex_home("", environ)
