"""An executable `codex` of the stand-in in a directory of the test, and the turning of its knobs."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from tests.support.codex_home import REPOSITORY
from tests.support.fake_codex.knobs import KNOBS_FILE, STARTS_FILE, Knobs
from tests.support.fake_codex.program import GRANDCHILD_FILE

# -E and the path: it must find its modules whatever environment the supervisor gives it.
_LAUNCHER = """\
#!{python} -E
import sys
sys.path.insert(0, {repository!r})
from tests.support.fake_codex.program import main
main()
"""


class FakeCodex:
    """The stand-in, installed as `directory/codex` for the given CODEX_HOME."""

    def __init__(self, directory: Path, codex_home: Path) -> None:
        self.binary = directory / "codex"
        self._home = codex_home
        directory.mkdir(exist_ok=True)
        self.binary.write_text(_LAUNCHER.format(python=sys.executable, repository=str(REPOSITORY)))
        self.binary.chmod(0o755)

    def turn_knobs(self, knobs: Knobs) -> None:
        """Set the knobs for the next starts; a process that runs keeps those that it started with."""
        (self._home / KNOBS_FILE).write_bytes(msgspec.json.encode(knobs))

    @property
    def starts(self) -> int:
        """How often `app-server` was started in this home."""
        counter = self._home / STARTS_FILE
        return counter.stat().st_size if counter.exists() else 0

    @property
    def grandchild_pid(self) -> int:
        """The pid of the latest grandchild."""
        return int((self._home / GRANDCHILD_FILE).read_text())
