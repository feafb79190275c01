"""The Codex that children are started with: looked for at each start, as it may be new since the last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from codex_control import __version__
from codex_control.errors import CodexUnusable

from codex_supervisor.child.locate import CodexBinary, locate_codex
from codex_supervisor.degraded import Degraded
from codex_supervisor.metrics import Metrics


class InstalledCodex:
    """`found` is the one that answered last. It is asked again once its file has changed."""

    def __init__(self, environ: Mapping[str, str], degraded: Degraded, metrics: Metrics) -> None:
        self.found: CodexBinary | None = None
        self._configured = ""
        self._environ = environ
        self._stamp = (0, 0)
        self._degraded = degraded
        self._metrics = metrics

    def look_for(self, configured: str) -> None:
        """Look for what `codex.binary` of the configuration names, from the next `find` on."""
        self._configured = configured
        self.found = None

    async def find(self) -> CodexBinary:
        """Find it; raise `CodexUnusable` with the fix."""
        binary = self.found
        if binary is None or _stamp(binary.path) != self._stamp:
            try:
                binary = await locate_codex(self._configured, self._environ)
            except CodexUnusable as error:
                self._degraded.add("codex", str(error))
                raise
            self.found, self._stamp = binary, _stamp(binary.path)
            self._metrics.set_build(__version__, binary.version)
            self._degraded.mend("codex")
        return binary


def _stamp(path: str) -> tuple[int, int]:
    """Return what changes when a program is replaced; zeros where it is gone."""
    try:
        status = Path(path).stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns
