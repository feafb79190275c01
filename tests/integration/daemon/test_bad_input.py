"""Wrong requests: each has the right status, says what is wrong and what to do, and leaves nothing behind."""

from __future__ import annotations

from typing import Any

import pytest
from codex_control.v1 import admin_pb2, instances_pb2, outcome_pb2, turns_pb2

from tests.integration.daemon.talking import Refusal, is_error
from tests.support.stub_model import StubModel
from tests.support.supervisor import Client, RunningSupervisor, ref

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAEMON_SETTINGS = {"profiles": {"careful": {"effort": "high"}}}


async def known(client: Client) -> tuple[int, int]:
    """How many turns and instances there are."""
    turns = await client.turns.List(turns_pb2.ListTurnsRequest(page_size=500))
    instances = await client.instances.List(instances_pb2.ListInstancesRequest())
    return len(turns.turns), len(instances.instances)


async def refused(client: Client, model: StubModel, status: str, prompt: str = "hello", **more: Any) -> Refusal:
    """Ask something that must be refused, on an instance that does not exist; nothing may be left of it."""
    before, received = await known(client), model.received
    async with is_error(status) as refusal:
        await client.ask(prompt, "never-made", **more)
    assert await known(client) == before
    assert model.received == received
    return refusal


@pytest.mark.parametrize("prompt", ["", " \n\t "])
async def test_an_empty_prompt(client: Client, model: StubModel, prompt: str) -> None:
    refusal = await refused(client, model, "INVALID_ARGUMENT", prompt)
    assert "empty" in refusal.what
    assert refusal.next_step


async def test_a_prompt_of_binary_data(client: Client, model: StubModel) -> None:
    refusal = await refused(client, model, "INVALID_ARGUMENT", "\x7fELF\x02\x01\x01\x00\x00")
    assert "NUL" in refusal.what


async def test_a_prompt_over_the_limit(client: Client, model: StubModel) -> None:
    refusal = await refused(client, model, "RESOURCE_EXHAUSTED", "x" * 1_000_001)
    assert "1,000,001" in refusal.what
    assert "turns.prompt_limit" in refusal.why
    assert "file" in refusal.next_step


async def test_the_largest_prompt_is_taken(client: Client, model: StubModel, name: str) -> None:
    # Four bytes a character: as large as a prompt can be on the wire.
    turn = await client.ask("\U0001f600" * 999_999 + "!", name)
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED
    assert len(turn.prompt) == 1_000_000


async def test_a_request_that_is_not_utf8_or_no_message_at_all(client: Client, model: StubModel, name: str) -> None:
    before = await known(client)
    good = client.request("PROMPT", name).SerializeToString()
    assert b"PROMPT" in good
    ask: Any = client.channel.unary_stream("/codex_control.v1.Turns/Ask")
    for data in (good.replace(b"PROMPT", b"\xff\xfe\xfdabc"), b"\xff" * 100, good[:-3]):
        async with is_error("INVALID_ARGUMENT") as refusal:
            async for _ in ask(data):
                pass
        assert "UTF-8" in refusal.next_step
    version: Any = client.channel.unary_unary("/codex_control.v1.Admin/Version")
    async with is_error("INVALID_ARGUMENT"):
        await version(b"\xff" * 10)
    assert await known(client) == before


@pytest.mark.parametrize(
    "image", ["relative.png", "/no/such.png", "/", "/\0", "/" + "x" * 5000, "/proc/self/mem/x"], ids=range(6)
)
async def test_an_image_that_is_not_there(client: Client, model: StubModel, image: str) -> None:
    refusal = await refused(client, model, "INVALID_ARGUMENT", images=[image])
    assert "image" in refusal.what or "image" in refusal.next_step


@pytest.mark.parametrize("cwd", ["relative", "/no/such", "/etc/passwd", "/" + "x" * 5000], ids=range(4))
async def test_a_directory_that_is_not_there(client: Client, model: StubModel, cwd: str) -> None:
    refusal = await refused(client, model, "INVALID_ARGUMENT", cwd=cwd)
    assert "director" in refusal.what


async def test_no_directory_at_all(client: Client, model: StubModel) -> None:
    refusal = await refused(client, model, "INVALID_ARGUMENT", cwd="")
    assert "--cwd" in refusal.next_step


async def test_a_directory_that_went_away(client: Client, daemon: RunningSupervisor, name: str) -> None:
    gone = daemon.home.root / "gone"
    gone.mkdir()
    await client.ask("hello", name, cwd=str(gone))
    await client.instances.Configure(instances_pb2.ConfigureRequest(instance=ref(name), cwd=str(gone)))
    gone.rmdir()
    async with is_error("INVALID_ARGUMENT") as refusal:
        await client.ask("hello", name, cwd="")
    assert str(gone) in refusal.what


async def test_an_unknown_profile_names_the_nearest(client: Client, model: StubModel) -> None:
    refusal = await refused(client, model, "NOT_FOUND", profile="carefull")
    assert "'carefull'" in refusal.what
    assert "careful" in refusal.next_step
    assert "default" in refusal.why


@pytest.mark.parametrize("request_id", ["", "a b", "x" * 129, "über", "tab\t"])
async def test_request_ids_that_are_none(client: Client, model: StubModel, request_id: str) -> None:
    refusal = await refused(client, model, "INVALID_ARGUMENT", request_id=request_id)
    assert "request id" in refusal.what


@pytest.mark.parametrize("schema", ["{", "[]", '"text"', "nonsense", "[" * 100_000])
async def test_schemas_that_are_none(client: Client, model: StubModel, schema: str) -> None:
    refusal = await refused(client, model, "INVALID_ARGUMENT", output_schema=schema)
    assert "schema" in refusal.what


async def test_limits_of_images_schema_and_time(client: Client, model: StubModel, daemon: RunningSupervisor) -> None:
    await refused(client, model, "RESOURCE_EXHAUSTED", images=["/etc/passwd"] * 21)
    await refused(client, model, "RESOURCE_EXHAUSTED", output_schema='{"a": "' + "x" * 300_000 + '"}')
    for seconds in (0, -5):
        await refused(client, model, "INVALID_ARGUMENT", timeout={"seconds": seconds})


async def test_turns_that_do_not_exist(client: Client) -> None:
    for turn_id, status in (("nonsense", "NOT_FOUND"), ("", "INVALID_ARGUMENT"), ("x" * 200, "INVALID_ARGUMENT")):
        async with is_error(status):
            await client.turns.Get(turns_pb2.GetTurnRequest(turn_id=turn_id))
        async with is_error(status):
            async for _ in client.turns.Attach(turns_pb2.AttachRequest(turn_id=turn_id)):
                pass
    async with is_error("NOT_FOUND"):
        await client.turns.Interrupt(turns_pb2.InterruptRequest(turn_id="nonsense"))
    async with is_error("INVALID_ARGUMENT"):
        await client.turns.Interrupt(turns_pb2.InterruptRequest())
    for request in (
        turns_pb2.ListTurnsRequest(states=[99]),  # type: ignore[list-item]
        turns_pb2.ListTurnsRequest(page_size=501),
        turns_pb2.ListTurnsRequest(page_token="nonsense"),
    ):
        async with is_error("INVALID_ARGUMENT"):
            await client.turns.List(request)


async def test_a_message_over_eight_megabytes_is_refused_by_grpc(client: Client) -> None:
    before = await known(client)
    request = client.request("x" * 9_000_000, "never-made")
    with pytest.raises(Exception, match="RESOURCE_EXHAUSTED"):
        async for _ in client.turns.Ask(request):
            pass
    assert await known(client) == before


async def test_the_supervisor_is_well_after_all_that(client: Client, name: str) -> None:
    assert (await client.ask("still there", name)).answer == "stub: still there"
    assert not (await client.admin.Version(admin_pb2.VersionRequest())).degraded
