"""`make experiments`: answers three questions about the gateway's conversions and writes build/experiments/E*.md.

`python -m tests.experiments E2` runs one of them. Ends with 1 where a claim does not hold.
"""

from __future__ import annotations

import sys

from tests.experiments import event_synthesis, fragment_aggregation, retry_headers

EXPERIMENTS = {"E1": event_synthesis.run, "E2": fragment_aggregation.run, "E3": retry_headers.run}


def main() -> int:
    """Run those that the arguments name, or all."""
    wanted = sys.argv[1:] or list(EXPERIMENTS)
    if unknown := [name for name in wanted if name not in EXPERIMENTS]:
        print(f"no experiment {', '.join(unknown)}: there are {', '.join(EXPERIMENTS)}", file=sys.stderr)
        return 2
    failed = False
    for name in wanted:
        report = EXPERIMENTS[name]()
        path = report.write()
        print(f"{report.text()}\nwritten to {path}\n")
        failed = failed or bool(report.failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
