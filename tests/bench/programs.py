"""What a short command costs beside the import of gRPC alone."""

from __future__ import annotations

import sys

from tests.bench.figures import Case, Goal
from tests.bench.place import PROGRAMS, Place

WARM_UP_ROUNDS = 2


def measure_programs(place: Place, rounds: int) -> list[Case]:
    """Run both whole programs in turn; the supervisor runs."""
    limit = Case("start", "python -c 'import grpc'")
    status = Case("start", "codexctl status", against=limit, goal=Goal(1.5))
    for number in range(-WARM_UP_ROUNDS, rounds):
        import_ms, _ = place.run(sys.executable, "-c", "import grpc")
        status_ms, shown = place.run(str(PROGRAMS / "codexctl"), "status")
        assert "bench" in shown, shown
        if number >= 0:
            limit.add(import_ms)
            status.add(status_ms)
    return [limit, status]
