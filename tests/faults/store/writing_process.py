"""A process that writes turns as fast as it can and says on stdout what was acknowledged, until it is killed.

Run as `python -m tests.faults.store.writing_process DIRECTORY ROUND`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from pathlib import Path

from codex_supervisor.store.store import Store

from tests.unit.store.samples import end, events, opened, turn

ENTRIES = 10
CLIENTS = 8


async def client(store: Store, base: int) -> None:
    instance = f"i{base % 3}"
    for number in itertools.count(base, CLIENTS):
        made = turn(number, instance, prompt="p" * 200)
        await store.accept_turn(made, events(1))
        tell(f"accepted {number}")
        await store.append_events(made.id, events(2, 3))
        tell(f"events {number}")
        if number % 7:  # some stay unfinished
            assert await store.finish_turn(made.id, end(f"answer {number}" * 20), events(4))
            tell(f"ended {number}")


def tell(line: str) -> None:
    # One write of a short line into a pipe is whole or not at all, also when the process is killed.
    os.write(1, f"{line}\n".encode())


async def main(directory: Path, base: int) -> None:
    async with opened(directory, entries_per_instance=ENTRIES) as store, asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(client(store, base + number))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) * 1_000_000))
