"""A writing process is SIGKILLed: what it acknowledged is there."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults.store.writing_process import ENTRIES
from tests.unit.store.samples import archive_dir, archive_files, opened, rows

REPOSITORY = Path(__file__).parents[3]
ROUNDS = 8
ARCHIVED = "SELECT name FROM archive_files"


def acknowledged_until_killed(
    directory: Path, number: int, lines: int, until: Callable[[], object] = lambda: True
) -> list[tuple[str, int]]:
    """Let a process write, kill it after some `lines` and when `until` holds, and return all that it said."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.store.writing_process", str(directory), str(number)],
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        text=True,
    )
    with process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        while not until():
            said.append(process.stdout.readline())
        process.kill()
        said += process.stdout.readlines()
    assert process.returncode == -9
    return [(word, int(turn)) for word, turn in (line.split() for line in said)]


async def test_what_was_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    chance = random.Random(20240229)
    accepted: set[str] = set()
    ended: dict[str, str] = {}
    with_events: set[str] = set()
    for number in range(ROUNDS):
        # From the second half on, turns have moved to the archive before a kill, and move while it comes.
        moved = (lambda: True) if number < ROUNDS // 2 else (lambda: rows(tmp_path, ARCHIVED))
        for word, turn in acknowledged_until_killed(tmp_path, number, chance.randint(1, 1500), moved):
            match word:
                case "accepted":
                    accepted.add(f"turn-{turn}")
                case "events":
                    with_events.add(f"turn-{turn}")
                case _:
                    ended[f"turn-{turn}"] = f"answer {turn}" * 20
        assert archive_dir(tmp_path).is_dir()
        async with opened(tmp_path, entries_per_instance=ENTRIES) as store:
            assert store.quarantined is None
            unfinished = [turn.id for turn in await store.unfinished_turns()]
            history = [turn async for turn in store.history_export(None)]
            assert max(Counter([*unfinished, *(turn.id for turn in history)]).values()) == 1, "each exactly once"
            assert accepted <= {*unfinished, *(turn.id for turn in history)}
            answers = {turn.id: turn.answer for turn in history}
            assert {turn_id: answers.get(turn_id) for turn_id in ended} == ended
            for turn_id in unfinished:
                seqs = [row.seq for row in await store.read_events(turn_id, 0, 9, 999)]
                assert seqs == [1, 2, 3] or (seqs == [1] and turn_id not in with_events)
    assert len(ended) > 100
    assert archive_files(tmp_path), "killed while turns moved to the archive, too"
    async with opened(tmp_path, entries_per_instance=ENTRIES) as store:
        await store.tidy()
        known = {name for (name,) in rows(tmp_path, ARCHIVED)}
        assert known == {path.name for path in archive_files(tmp_path)}, "nothing is left lying about"
