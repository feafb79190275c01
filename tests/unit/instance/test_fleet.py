"""The table of the instances: what is watched, and what is left of those that are gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from codex_control.errors import StoreUnavailable, WrongState
from codex_control.v1 import instances_pb2
from codex_supervisor.instance.fleet import Fleet

from tests.support.waiting import wait_for
from tests.unit.house import house_of
from tests.unit.store.samples import opened


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """A fleet on a real store, in which nothing can be started."""

    async with opened(tmp_path) as store, house_of(tmp_path, store) as house:
        yield Fleet(house)


def ref(name: str) -> instances_pb2.InstanceRef:
    return instances_pb2.InstanceRef(id=name)


async def test_nothing_is_kept_of_an_instance_that_is_gone(fleet: Fleet) -> None:
    for name in "blue", "green", "red":
        await fleet.find_or_make(ref(name), "/")
    blue, green = fleet.find(ref("blue")), fleet.find(ref("green"))
    await fleet.delete(blue, force=False, timeout_s=5)
    await fleet.forget(green)
    # What was under way when it went is heard of late.
    blue.turn_over("late")
    green.turn_over("late")
    assert set(fleet.shells) == set(fleet.versions) == {"red"}


async def test_what_its_children_wrote_goes_with_an_instance(fleet: Fleet) -> None:
    for name in "a", "a.log", "b":
        await fleet.find_or_make(ref(name), "/")
    folder = fleet.house.paths.log_dir / "children"
    folder.mkdir(parents=True)
    for name in "a.log", "a.log.1", "a.log.2", "a.log.3", "a.log.log", "b.log":
        (folder / name).write_text("its words")
    await fleet.delete(fleet.find(ref("a")), force=False, timeout_s=5)
    assert sorted(path.name for path in folder.iterdir()) == ["a.log.log", "b.log"]
    await fleet.forget(fleet.find(ref("b")))
    assert [path.name for path in folder.iterdir()] == ["a.log.log"]


async def test_a_watcher_hears_once_that_an_instance_is_gone_and_of_its_namesake(fleet: Fleet) -> None:
    first = await fleet.find_or_make(ref("blue"), "/")
    watching = fleet.watch(None)
    assert await anext(watching) == ("blue", first)
    await fleet.delete(first, force=False, timeout_s=5)
    assert await anext(watching) == ("blue", None)
    second = await fleet.find_or_make(ref("blue"), "/")
    assert await anext(watching) == ("blue", second)
    await fleet.forget(second)
    assert await anext(watching) == ("blue", None)


async def test_a_watch_of_one_instance_ends_with_it(fleet: Fleet) -> None:
    blue, green = await fleet.find_or_make(ref("blue"), "/"), await fleet.find_or_make(ref("green"), "/")
    watching = fleet.watch(blue)
    assert await anext(watching) == ("blue", blue)
    await fleet.forget(green)
    await fleet.forget(blue)
    assert [change async for change in watching] == [("blue", None)]
    assert [change async for change in fleet.watch(blue)] == [("blue", None)]


async def test_a_name_is_not_free_before_its_deletion_is_on_the_disk(fleet: Fleet) -> None:
    # What was written in between would go with it: an accepted turn, too.
    blue = await fleet.find_or_make(ref("blue"), "/")
    here = instances_pb2.InstanceRef(workspace="/work/blue")
    async with fleet.house.store._housekeeper.steps:
        deleting = asyncio.create_task(fleet.delete(blue, force=False, timeout_s=5))
        await wait_for(lambda: "blue" not in fleet.shells, 5, "the instance to be out of the table")
        with pytest.raises(WrongState, match="is being deleted"):
            await fleet.find_or_make(ref("blue"), "/")
        assert (await fleet.find_or_make(here, "/")).record.id == "blue-2"
    await deleting
    await fleet.find_or_make(ref("blue"), "/")
    assert [record.id for record in await fleet.house.store.load_instances()] == ["blue", "blue-2"]


async def test_a_deletion_goes_on_without_who_asked_for_it(fleet: Fleet) -> None:
    blue = await fleet.find_or_make(ref("blue"), "/")
    async with fleet.house.store._housekeeper.steps:
        deleting = asyncio.create_task(fleet.delete(blue, force=False, timeout_s=5))
        await wait_for(lambda: "blue" not in fleet.shells, 5, "the instance to be out of the table")
        deleting.cancel()
        await asyncio.gather(deleting, return_exceptions=True)

    async def is_gone() -> bool:
        return await fleet.house.store.load_instances() == []

    await wait_for(is_gone, 5, "the instance to be gone from the store")


async def test_what_the_store_does_not_delete_or_take_is_no_half_thing(fleet: Fleet) -> None:
    blue = await fleet.find_or_make(ref("blue"), "/")
    await fleet.house.store.close()
    with pytest.raises(StoreUnavailable):
        await fleet.delete(blue, force=False, timeout_s=5)
    assert fleet.find(ref("blue")) is blue
    for _ in range(2):
        # A second try does not take the first one's instance for one that is written down.
        with pytest.raises(StoreUnavailable):
            await fleet.find_or_make(ref("green"), "/")
