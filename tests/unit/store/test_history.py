"""Pages, search and export over database and archive: every entry exactly once, in order."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from codex_control.errors import BadInput
from codex_supervisor.store import history, pages
from codex_supervisor.store.records import TurnRecord, TurnState
from codex_supervisor.store.store import Store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.store.samples import archive_files, end, finished, opened, turn


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path) as made:
        yield made


async def all_pages(store: Store, instance: str | None, limit: int, text: str | None = None) -> list[str]:
    found: list[str] = []
    token = ""
    while True:
        if text is None:
            page, token = await store.history_page(instance, limit, token)
        else:
            page, token = await store.history_search(instance, text, limit, token)
        assert len(page) <= limit
        assert page or not found, "no empty page behind a token"
        found += [entry.id for entry in page]
        if not token:
            return found


async def exported(store: Store, instance: str | None) -> list[str]:
    return [entry.id async for entry in store.history_export(instance)]


Step = tuple[str, str]
# What can happen: a turn is accepted and ends at once, is accepted only, the oldest open one ends, housekeeping.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["whole", "whole", "whole", "open", "end", "tidy"]), st.sampled_from(["blue", "red", "A.b-c_"])
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, limit=st.integers(1, 9), kept=st.integers(1, 6), reopen=st.booleans())
def test_every_ended_turn_exactly_once(steps: list[Step], limit: int, kept: int, reopen: bool) -> None:
    async def scenario(directory: Path) -> None:
        accepted: list[TurnRecord] = []
        ended: set[str] = set()
        async with opened(directory, entries_per_instance=kept) as store:
            for action, instance in steps:
                still_open = [old for old in accepted if old.id not in ended]
                if action == "tidy":
                    await store.tidy()
                elif action == "end" and still_open:
                    assert await store.finish_turn(still_open[0].id, end(), [])
                    ended.add(still_open[0].id)
                elif action in ("open", "whole"):
                    made = turn(len(accepted), instance, "even" if len(accepted) % 2 == 0 else "odd")
                    await store.accept_turn(made, [])
                    accepted.append(made)
                    if action == "whole":
                        await store.finish_turn(made.id, end(), [])
                        ended.add(made.id)
            await store.tidy()
            if not reopen:
                await check(store, accepted, ended)
        if reopen:
            async with opened(directory, entries_per_instance=kept) as store:
                await check(store, accepted, ended)

    async def check(store: Store, accepted: list[TurnRecord], ended: set[str]) -> None:
        for instance in (None, "blue", "red", "A.b-c_"):
            mine = [old for old in accepted if instance in (None, old.instance)]
            newest_first = [old.id for old in reversed(mine) if old.id in ended]
            assert await all_pages(store, instance, limit) == newest_first
            assert await exported(store, instance) == newest_first[::-1]
            even = [old.id for old in reversed(mine) if old.id in ended and old.request.prompt == "even"]
            assert await all_pages(store, instance, limit, "EVE") == even
            everything, _ = await store.list_turns(instance, [], 500, "")
            assert [old.id for old in everything] == [old.id for old in reversed(mine)]
        for old in accepted:
            kept_turn = await store.get_turn(old.request_id)
            assert kept_turn is not None
            assert kept_turn.id == old.id
            assert await store.accept_turn(old, []) == (kept_turn, False)

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(scenario(Path(directory)))


async def test_pages_are_stable_while_turns_end_and_move(tmp_path: Path) -> None:
    async with opened(tmp_path, entries_per_instance=5) as store:
        for number in range(30):
            await finished(store, number)
        seen: list[str] = []
        token = ""
        fresh = 100
        while True:
            page, token = await store.history_page("blue", 4, token)
            seen += [entry.id for entry in page]
            for _ in range(3):
                fresh += 1
                await finished(store, fresh)
            await store.tidy()
            if not token:
                break
        assert seen == [f"turn-{number}" for number in reversed(range(30))]


async def test_an_export_goes_on_while_turns_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "SLICE_TURNS", 4)
    async with opened(tmp_path) as store:
        for number in range(30):
            await finished(store, number)
        store.set_limits(entries_per_instance=3)
        seen: list[str] = []
        async for entry in store.history_export(None):
            if not seen:
                await store.tidy()
                await finished(store, 99)
            seen.append(entry.id)
        assert seen == [f"turn-{number}" for number in range(30)]


async def test_a_page_ends_early_where_entries_are_large(store: Store) -> None:
    large = "x" * (pages.MAX_PAGE_BYTES // 2)
    for number in range(4):
        await finished(store, number, answer=large)
    await finished(store, 4, answer=large * 5)
    page, token = await store.history_page(None, 50, "")
    assert [entry.id for entry in page] == ["turn-4"], "one at least"
    page, token = await store.history_page(None, 50, token)
    assert [entry.id for entry in page] == ["turn-3"]
    assert token
    assert await all_pages(store, None, 50) == [f"turn-{number}" for number in (4, 3, 2, 1, 0)]


async def test_states_filter_the_list(store: Store) -> None:
    await finished(store, 1)
    await store.accept_turn(turn(2), [])
    await store.accept_turn(turn(3), [])
    await store.mark_sent("turn-3", thread_id="t", sent_ns=1)
    await store.accept_turn(turn(4, "red"), [])
    await store.finish_turn("turn-4", end(), [])

    async def listed(*states: TurnState, instance: str | None = None) -> list[str]:
        return [old.id for old in (await store.list_turns(instance, states, 50, ""))[0]]

    queued, running, ended = TurnState.QUEUED, TurnState.RUNNING, TurnState.ENDED
    assert await listed() == ["turn-4", "turn-3", "turn-2", "turn-1"]
    assert await listed(queued) == ["turn-2"]
    assert await listed(running) == ["turn-3"]
    assert await listed(ended) == ["turn-4", "turn-1"]
    assert await listed(queued, running) == ["turn-3", "turn-2"]
    assert await listed(queued, ended) == ["turn-4", "turn-2", "turn-1"]
    assert await listed(running, ended, instance="blue") == ["turn-3", "turn-1"]
    page, token = await store.list_turns(None, [queued, running], 1, "")
    assert [old.id for old in page] == ["turn-3"]
    assert [old.id for old in (await store.list_turns(None, [running, queued], 1, token))[0]] == ["turn-2"]


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("straße", "Die STRASSE hier"),
        ("ΣΊΣΥΦΟΣ", "και σίσυφος"),
        ("ÄÖÜ", "xäöüx"),
        ("e\u0301te\u0301", "L'ÉTÉ"),
        ("ÉTÉ", "l'e\u0301te\u0301"),
        ("привет", "ПРИВЕТ, мир"),
        ("100%", "it is 100% done"),
        ("a_b", "A_B"),
        ("back\\slash", "BACK\\SLASH"),
        ("\"quoted' --", "say \"QUOTED' -- ;"),
    ],
)
async def test_search_ignores_case_in_all_of_unicode(tmp_path: Path, text: str, prompt: str) -> None:
    async with opened(tmp_path, entries_per_instance=1) as store:
        await finished(store, 1, prompt=prompt)
        await finished(store, 2, answer=prompt)
        await finished(store, 3, prompt="100x a-b something else")
        await store.tidy()
        assert await all_pages(store, None, 1, text) == ["turn-2", "turn-1"]
        assert await all_pages(store, "red", 1, text) == []


async def test_wildcards_are_plain_text(store: Store) -> None:
    await finished(store, 1, prompt="abc")
    assert await all_pages(store, None, 5, "%") == []
    assert await all_pages(store, None, 5, "a_c") == []


async def test_accents_are_not_ignored(store: Store) -> None:
    await finished(store, 1, prompt="l'ÉTÉ")
    await finished(store, 2, prompt="l'E\u0301TE\u0301")
    assert await all_pages(store, None, 5, "l'ete") == []
    assert await all_pages(store, None, 5, "l'été") == ["turn-2", "turn-1"]


async def test_search_goes_through_many_slices(store: Store) -> None:
    for number in range(history.SLICE_TURNS + 50):
        await finished(store, number, prompt="needle" if number in (3, 200) else "hay")
    assert await all_pages(store, None, 1, "NEEDLE") == ["turn-200", "turn-3"]


@pytest.mark.parametrize(
    "token",
    ["x", "!!!!", "AAAA", "ü", "A" * 1000, base64.urlsafe_b64encode(b"\x01" + b"\0" * 16).decode(), " "],
)
async def test_bad_page_tokens(store: Store, token: str) -> None:
    with pytest.raises(BadInput, match="page token"):
        await store.history_page(None, 5, token)
    with pytest.raises(BadInput, match="page token"):
        await store.list_turns(None, [], 5, token)


@given(token=st.text(max_size=40))
def test_no_token_breaks_the_parser(token: str) -> None:
    with contextlib.suppress(BadInput):
        assert pages.page_start(b"question", token) > 0


async def test_a_token_of_another_question_is_refused(store: Store) -> None:
    for number in range(5):
        await finished(store, number, prompt="needle")
    _, token = await store.history_page("blue", 2, "")
    for call in (
        store.history_page(None, 2, token),
        store.history_page("red", 2, token),
        store.history_search("blue", "needle", 2, token),
        store.list_turns("blue", [TurnState.ENDED], 2, token),
    ):
        with pytest.raises(BadInput, match="another filter"):
            await call


@pytest.mark.parametrize("limit", [0, -1, 501])
async def test_bad_limits(store: Store, limit: int) -> None:
    with pytest.raises(BadInput, match="page size"):
        await store.history_page(None, limit, "")


async def test_an_empty_search_is_refused(store: Store) -> None:
    with pytest.raises(BadInput, match="empty"):
        await store.history_search(None, "", 5, "")


async def test_clear_deletes_what_has_ended(tmp_path: Path) -> None:
    async with opened(tmp_path, entries_per_instance=4) as store:
        for number in range(20):
            await finished(store, number, instance=("blue", "red")[number % 2])
        await store.accept_turn(turn(50, "blue"), [])
        await store.tidy()
        assert any("@blue" in path.name for path in archive_files(tmp_path))
        assert await store.history_clear("blue") == 10
        assert not any("@blue" in path.name for path in archive_files(tmp_path))
        assert await store.history_clear("blue") == 0
        assert await all_pages(store, "blue", 5) == []
        assert len(await all_pages(store, "red", 5)) == 10
        assert [old.id for old in await store.unfinished_turns()] == ["turn-50"]
    async with opened(tmp_path) as store:
        await store.tidy()
        assert await all_pages(store, "blue", 5) == [], "and they stay away"
