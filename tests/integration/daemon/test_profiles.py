"""Profiles and settings: they reach the model provider, are switched between turns, and are remembered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from codex_control.v1 import admin_pb2, instances_pb2, outcome_pb2

from tests.integration.daemon.talking import is_error, kinds
from tests.support.model_script import Reasoning, Text
from tests.support.stub_model import RecordedRequest, StubModel
from tests.support.supervisor import Client, RunningSupervisor, ref

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAEMON_SETTINGS = {
    "profiles": {
        "pirate": {
            "effort": "high",
            "model": "other-model",
            "summary": "detailed",
            "developer_instructions": "Speak like a pirate.",
            "sandbox": "read-only",
        },
        "free": {"sandbox": "danger-full-access"},
    }
}


def sent(request: RecordedRequest) -> tuple[str, Any, Any]:
    """Model, effort and summary of a request."""
    reasoning = request.body.get("reasoning") or {}
    return request.body["model"], reasoning.get("effort"), reasoning.get("summary")


def developer_texts(request: RecordedRequest) -> list[str]:
    """Everything that the model is told beside the person's words, oldest first."""
    return [json.dumps(item["content"]) for item in request.input if item.get("role") == "developer"]


def sandbox_of(request: RecordedRequest) -> str:
    """The sandbox that the model was told of last."""
    told = " ".join(developer_texts(request))
    modes = ("read-only", "workspace-write", "danger-full-access")
    return max(modes, key=lambda mode: told.rfind(f"`sandbox_mode` is `{mode}`"))


def assert_no_pirate(request: RecordedRequest) -> None:
    """Raise unless the model was told that the pirate's instructions, which stand in the conversation, are over."""
    told = developer_texts(request)
    begun = max(number for number, text in enumerate(told) if "Speak like a pirate." in text)
    over = max(number for number, text in enumerate(told) if "no longer apply" in text)
    assert over > begun


async def configure(client: Client, name: str, **settings: Any) -> instances_pb2.Settings:
    """Change settings, and return all."""
    reply = await client.instances.Configure(instances_pb2.ConfigureRequest(instance=ref(name), **settings))
    found: instances_pb2.Settings = reply.instance.settings
    return found


async def test_a_profile_reaches_the_provider_and_going_back_really_goes_back(
    client: Client, model: StubModel, name: str
) -> None:
    await client.ask("one", name)
    plain = model.requests[-1]
    assert plain.body["model"] == "stub-model"
    assert sandbox_of(plain) == "workspace-write"

    turn = await client.ask("two", name, profile="pirate")
    assert turn.profile == "pirate"
    pirate = model.requests[-1]
    assert sent(pirate) == ("other-model", "high", "detailed")
    assert sandbox_of(pirate) == "read-only"
    assert any("Speak like a pirate." in told for told in developer_texts(pirate))

    # That was for one turn only.
    turn = await client.ask("three", name)
    assert turn.profile == "default"
    again = model.requests[-1]
    assert sent(again) == sent(plain)
    assert sandbox_of(again) == "workspace-write"
    assert_no_pirate(again)
    assert again.user_texts[-3:] == ("one", "two", "three"), "it is one conversation"

    await client.ask("four", name, profile="free")
    assert sandbox_of(model.requests[-1]) == "danger-full-access"


async def test_a_profile_from_the_first_turn_on_goes_back_too(client: Client, model: StubModel, name: str) -> None:
    await client.ask("one", name, profile="pirate")
    first = model.requests[-1]
    assert sent(first) == ("other-model", "high", "detailed")
    assert sandbox_of(first) == "read-only"
    assert any("Speak like a pirate." in told for told in developer_texts(first))
    await client.ask("two", name)
    assert model.requests[-1].body["model"] == "stub-model"
    assert sent(model.requests[-1])[1] != "high"
    assert sandbox_of(model.requests[-1]) == "workspace-write"
    assert_no_pirate(model.requests[-1])


async def test_efforts_of_the_built_in_profiles(client: Client, model: StubModel, name: str) -> None:
    for profile in ("low", "high", "low"):
        await client.ask(profile, name, profile=profile)
        assert sent(model.requests[-1])[1] == profile


async def test_settings_are_kept_and_hold_from_the_next_turn_on(client: Client, model: StubModel, name: str) -> None:
    settings = await configure(client, name, profile="high", show_reasoning=True, final_only=True)
    assert (settings.profile, settings.show_reasoning, settings.final_only) == ("high", True, True)
    model.script(Reasoning(("a thought",)), Text("answer"))
    events = await client.events("one", name)
    assert "reasoning" in kinds(events)
    assert events[-1].ended.turn.profile == "high"
    settings = await configure(client, name, show_reasoning=False)
    assert (settings.profile, settings.show_reasoning, settings.final_only) == ("high", False, True)
    # Empty means: as everybody else.
    assert (await configure(client, name, profile="")).profile == "default"
    assert (await client.ask("two", name)).profile == "default"


async def test_settings_that_make_no_sense_change_nothing(client: Client, name: str) -> None:
    before = await configure(client, name, profile="low")
    async with is_error("NOT_FOUND") as refusal:
        await configure(client, name, profile="piratte")
    assert "'piratte'" in refusal.what
    assert "pirate" in refusal.next_step
    for bad, status in (
        ({"cwd": "relative"}, "INVALID_ARGUMENT"),
        ({"cwd": "/no/such/directory"}, "INVALID_ARGUMENT"),
        ({"cwd": ""}, "INVALID_ARGUMENT"),
        ({"approval_policy": 77}, "INVALID_ARGUMENT"),
        ({"on_interrupted": 77}, "INVALID_ARGUMENT"),
    ):
        async with is_error(status):
            await configure(client, name, **bad)
    assert (await client.instance(name)).settings == before


async def test_a_new_working_directory_holds_from_the_next_turn_on(
    client: Client, model: StubModel, name: str, daemon: RunningSupervisor
) -> None:
    await client.ask("one", name)
    other = daemon.home.root / "other"
    other.mkdir()
    settings = await configure(client, name, cwd=str(other))
    assert settings.cwd == str(other)
    turn = await client.ask("two", name, cwd="")
    assert turn.cwd == str(other)
    assert str(other) in json.dumps(model.requests[-1].input[-4:])


async def test_the_profiles_are_listed(client: Client) -> None:
    reply = await client.admin.Profiles(admin_pb2.ProfilesRequest())
    profiles = {profile.name: profile for profile in reply.profiles}
    assert list(profiles) == ["default", "free", "high", "low", "pirate"]
    assert profiles["high"].effort == "high"
    assert profiles["default"].sandbox == "workspace-write"
    pirate = profiles["pirate"]
    assert (pirate.effort, pirate.model, pirate.summary, pirate.sandbox) == (
        "high",
        "other-model",
        "detailed",
        "read-only",
    )
    assert pirate.developer_instructions == "Speak like a pirate."


# Last in the file: it takes the file's supervisor away from under its other tests.
async def test_settings_and_the_state_of_the_thread_outlive_the_supervisor(
    daemon: RunningSupervisor, model: StubModel, name: str
) -> None:
    await configure(daemon.client, name, profile="pirate", show_reasoning=True)
    before = (await daemon.client.ask("one", name)).thread_id
    await daemon.stop()
    await daemon.start()
    found = await daemon.client.instance(name)
    assert found.state == instances_pb2.INSTANCE_STATE_STOPPED
    assert (found.settings.profile, found.settings.show_reasoning) == ("pirate", True)
    turn = await daemon.client.ask("two", name)
    assert (turn.outcome, turn.thread_id) == (outcome_pb2.OUTCOME_COMPLETED, before)
    assert sent(model.requests[-1]) == ("other-model", "high", "detailed")
    await configure(daemon.client, name, profile="")
    await daemon.client.ask("three", name)
    assert model.requests[-1].body["model"] == "stub-model"
    assert sandbox_of(model.requests[-1]) == "workspace-write"
    assert_no_pirate(model.requests[-1])
