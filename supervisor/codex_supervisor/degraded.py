"""What does not work although the service runs: a sentence about each, for people, the metrics page and the log."""

from __future__ import annotations

import logging

from codex_supervisor.metrics import Metrics

_log = logging.getLogger(__name__)


class Degraded:
    """The sentences, each under the name of what they are about. False while all is well."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._sentences: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._sentences)

    @property
    def names(self) -> tuple[str, ...]:
        """What does not work, the oldest trouble first."""
        return tuple(self._sentences)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Why not, in the same order."""
        return tuple(self._sentences.values())

    def why(self, what: str) -> str:
        """The sentence about `what`; empty where it works."""
        return self._sentences.get(what, "")

    def add(self, what: str, sentence: str) -> None:
        """Say that `what` does not work, and why."""
        self._sentences[what] = sentence
        self._metrics.degraded.set(len(self._sentences))
        _log.warning("degraded", extra={"what": what, "why": sentence})

    def mend(self, what: str) -> None:
        """Say that `what` works, again or still."""
        if self._sentences.pop(what, None) is not None:
            self._metrics.degraded.set(len(self._sentences))
            _log.info("mended", extra={"what": what})
