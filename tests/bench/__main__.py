"""`make bench`: prints a table and writes build/bench.json. BENCH_QUICK=1 takes few samples, to see that all works.

Everything runs side by side in one run, rivals in turn (A B A B …), against one stub model that answers at once. It
judges nothing: the goals beside the figures are for people. `make bench ARGS='--page docs/benchmarks.md'` puts the
table into the page as well.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.bench.figures import Case, table
from tests.bench.gateway import measure_gateway, measure_gateway_load
from tests.bench.load import measure_load
from tests.bench.place import Place, open_place
from tests.bench.programs import measure_programs
from tests.bench.recovery import measure_adoption, measure_recovery
from tests.bench.tasks import measure_ends, measure_many, measure_submits
from tests.bench.turns import measure_turns
from tests.support.codex_home import REPOSITORY

OUTPUT = REPOSITORY / "build" / "bench.json"


@dataclass(frozen=True)
class Size:
    """How many samples are taken."""

    turns: int = 60
    programs: int = 40
    recoveries: int = 20
    adoptions: int = 8
    asks: int = 50
    instances: int = 20
    gateway_rounds: int = 3
    gateway_s: float = 5.0
    gateway_streams: int = 1000
    gateway_load_s: float = 60.0
    submit_rounds: int = 10
    submits: int = 480
    tasks: int = 30
    ended_tasks: int = 100_000
    pending_tasks: int = 1_000
    waiting_tasks: int = 10_000
    starts: int = 5


QUICK = Size(
    turns=5,
    programs=5,
    recoveries=2,
    adoptions=1,
    asks=10,
    instances=4,
    submit_rounds=1,
    gateway_rounds=1,
    gateway_s=1.0,
    gateway_streams=100,
    gateway_load_s=5.0,
    submits=32,
    tasks=2,
    ended_tasks=1_000,
    pending_tasks=10,
    waiting_tasks=100,
    starts=1,
)

Bench = Callable[[Place, Size], Awaitable[list[Case]]]


async def _turns(place: Place, size: Size) -> list[Case]:
    async with place.supervisor() as supervisor:
        return await measure_turns(place, supervisor, size.turns)


async def _programs(place: Place, size: Size) -> list[Case]:
    async with place.supervisor() as supervisor:
        await supervisor.client.ask("hello", "bench")
        return measure_programs(place, size.programs)


async def _recovery(place: Place, size: Size) -> list[Case]:
    async with place.supervisor() as supervisor:
        return await measure_recovery(place, supervisor, size.recoveries)


async def _tasks(place: Place, size: Size) -> list[Case]:
    cases = await measure_many(place, size.ended_tasks, size.pending_tasks, size.waiting_tasks, size.starts)
    # Its databases are no burden to the others.
    async with open_place() as fresh:
        cases = await measure_submits(fresh, size.submit_rounds, size.submits) + cases
    async with open_place() as fresh:
        return await measure_ends(fresh, size.tasks) + cases


BENCHES: dict[str, Bench] = {
    "turns": _turns,
    "programs": _programs,
    "load": lambda place, size: measure_load(place, size.asks, size.instances),
    "recovery": _recovery,
    "tasks": _tasks,
    "adoption": lambda place, size: measure_adoption(place, size.adoptions),
    "gateway": lambda _, size: measure_gateway(size.gateway_rounds, size.gateway_s),
    "gateway-load": lambda _, size: measure_gateway_load(size.gateway_streams, size.gateway_load_s),
}


async def _run(names: Sequence[str], size: Size) -> list[Case]:
    cases: list[Case] = []
    for name in names:
        # A place for each: one bench's threads and store are no burden to the next.
        async with open_place() as place:
            cases += await BENCHES[name](place, size)
    return cases


def main() -> None:
    """Run the benches named as arguments, all where none is."""
    parser = argparse.ArgumentParser(prog="make bench", description="measure the supervisor beside its rivals")
    parser.add_argument("benches", nargs="*", metavar="BENCH", help=f"some of {', '.join(BENCHES)}; none means all")
    parser.add_argument("--out", type=Path, default=OUTPUT, help="where the figures go as JSON")
    parser.add_argument("--page", type=Path, help="a page in Markdown whose table is replaced")
    given = parser.parse_args()
    if unknown := set(given.benches) - set(BENCHES):
        parser.error(f"there is no bench {', '.join(sorted(unknown))}")
    size = QUICK if os.environ.get("BENCH_QUICK") == "1" else Size()
    began = time.monotonic()
    cases = asyncio.run(_run(given.benches or list(BENCHES), size))
    shown = f"{table(cases)}\n\n{_machine()}; {time.monotonic() - began:.0f} s for all"
    print(shown)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_bytes(msgspec.json.format(msgspec.json.encode([case.figure() for case in cases]), indent=1) + b"\n")
    if given.page is not None:
        given.page.write_text(_with_table(given.page.read_text(), shown))


def _machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    processor = model[1] if model else platform.machine()
    return (
        f"{os.cpu_count()} cores ({processor}), {platform.system()} {platform.release()}, Python "
        f"{platform.python_version()}, load average {os.getloadavg()[0]:.1f} at the end"
    )


def _with_table(page: str, shown: str) -> str:
    begin, end = "<!-- figures -->\n", "<!-- end of figures -->\n"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    if not after:
        raise SystemExit(f"the page has no place for the table, between {begin.strip()} and {end.strip()}")
    return f"{before}{begin}\n{shown}\n\n{end}{after}"


if __name__ == "__main__":
    main()
