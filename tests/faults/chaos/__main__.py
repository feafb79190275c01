"""The command: `python -m tests.faults.chaos --seconds 600 --seed 7`. Exits with 1 where anything was violated."""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.faults.chaos.audit import violations
from tests.faults.chaos.report import figures, lines
from tests.faults.chaos.world import evidence_of
from tests.support.codex_home import REPOSITORY

REPORT = REPOSITORY / "build" / "chaos.json"
EVIDENCE = REPOSITORY / "build" / "chaos-evidence"


async def run(seconds: float, seed: int, codex: Path) -> dict[str, Any]:
    """Run and judge; the evidence of a violated promise is kept below build/."""
    print(f"chaos for {seconds:g} s with --seed {seed}", flush=True)
    async with evidence_of(seconds, seed, codex) as evidence:
        found = violations(evidence)
        result = figures(evidence, seconds, seed, found)
        if found:
            shutil.rmtree(EVIDENCE, ignore_errors=True)
            shutil.copytree(evidence.home.root, EVIDENCE, symlinks=True, ignore_dangling_symlinks=True)
            print(f"the store, the logs and Codex's files are in {EVIDENCE}", flush=True)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(result, indent=2) + "\n")
    print("\n".join(lines(result)), flush=True)
    return result


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=None, help="repeats the choice of questions and faults")
    parser.add_argument("--codex", type=Path, default=None, help="the Codex binary; that of the PyPI wheel otherwise")
    given = parser.parse_args()
    codex = given.codex
    if codex is None:
        from codex_cli_bin import bundled_codex_path

        codex = Path(bundled_codex_path())
    seed = given.seed if given.seed is not None else secrets.randbelow(1_000_000)
    sys.exit(1 if asyncio.run(run(given.seconds, seed, codex))["violations"] else 0)


if __name__ == "__main__":
    main()
