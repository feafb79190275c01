"""The Codex thread of an instance: loaded into the child, and the parameters that a turn is sent with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec
from codex_control.errors import CodexError, Exit

from codex_supervisor.child import requests
from codex_supervisor.child.awake import AwakeChild, LoadedThread
from codex_supervisor.child.gateway import PROVIDER
from codex_supervisor.child.locate import codex_word
from codex_supervisor.child.requests import AppServerError
from codex_supervisor.config.children import Provider
from codex_supervisor.config.profiles import Profile
from codex_supervisor.house import House
from codex_supervisor.store.records import Cause, InstanceRecord, ReviewRecord, TurnRecord
from codex_supervisor.turn.review import codex_target

THREAD_TIMEOUT_S = 60.0
"""Loading a thread starts the user's MCP servers, which may take long."""

REQUEST_TIMEOUT_S = 30.0
"""Any other request; Codex answers in milliseconds unless it hangs."""

# Codex asks where its own rules say so; who answers is the instance's approval policy.
_APPROVAL_POLICY = "on-request"

# What the model is told where a profile takes the place of one with instructions.
_WITHDRAWN = "The developer instructions of this kind that were given earlier no longer apply."

# The provider of a Codex that was told none.
_CODEX_OWN = "openai"

# SQLite's words for SQLITE_NOTADB (26) and SQLITE_CORRUPT (11), as Codex passes them on.
_DAMAGED = re.compile(r"\(code: (26|11)\)")

_SANDBOX_POLICIES = {
    "read-only": "readOnly",
    "workspace-write": "workspaceWrite",
    "danger-full-access": "dangerFullAccess",
}


class ThreadOwner(Protocol):
    """What is needed of an instance: its record, and a way to change it."""

    house: House
    record: InstanceRecord

    def save(self, record: InstanceRecord) -> None:
        """Remember a changed record."""


async def open_thread(owner: ThreadOwner, child: AwakeChild, turn: TurnRecord, profile: Profile) -> LoadedThread:
    """Return the instance's thread, loaded in `child`: the one that is there, the resumed one, or a new one.

    A thread that Codex no longer knows (it was never written, or its file is gone or unreadable) is replaced by a new
    one: the caller sees it by its id.
    Raises `AppServerError` where Codex refuses, `ChildFailed` where the child dies, `NotLoggedIn` where the model
    provider wants a login and there is none.
    """
    if child.thread is not None:
        return child.thread
    if owner.record.thread_id:
        # At once: somebody waits for the answer. A missing login is the better reason where both fail.
        login, resumed = await asyncio.gather(
            _check_login(owner, child, turn), _resume(owner, child, turn, profile), return_exceptions=True
        )
        if login is not None:
            raise login
        if isinstance(resumed, LoadedThread):
            child.thread = resumed
            return resumed
        if not isinstance(resumed, AppServerError) or not _thread_is_gone(resumed):
            raise resumed
    else:
        await _check_login(owner, child, turn)
    child.thread = await _start(owner, child, turn, profile)
    return child.thread


class NotLoggedIn(CodexError):
    """Codex has no login, and the configured model provider wants one."""

    reason = "NOT_LOGGED_IN"
    status = "FAILED_PRECONDITION"
    exit_code = Exit.CONFIG


async def _check_login(owner: ThreadOwner, child: AwakeChild, turn: TurnRecord) -> None:
    # Codex itself tries for long without a login and then gives no reason. This reads files only.
    account = await child.server.request(
        "account/read", requests.GetAccountParams(), requests.GetAccountResponse, REQUEST_TIMEOUT_S
    )
    if account.requires_openai_auth and account.account is None:
        # With a broken config.toml Codex knows no provider but its own; a thread that nobody uses is how it says so.
        probe = requests.ThreadStartParams(
            cwd=turn.request.cwd, approval_policy=_APPROVAL_POLICY, sandbox="read-only", developer_instructions=None
        )
        await child.server.request("thread/start", probe, requests.ThreadStartResponse, THREAD_TIMEOUT_S)
        codex = codex_word(owner.house.config.codex.binary, owner.house.environment)
        raise NotLoggedIn(next_step=f"run `{codex} login`, or name a model provider in Codex's config.toml")


async def _resume(owner: ThreadOwner, child: AwakeChild, turn: TurnRecord, profile: Profile) -> LoadedThread:
    params = requests.ThreadResumeParams(
        thread_id=owner.record.thread_id,
        exclude_turns=True,
        cwd=turn.request.cwd,
        approval_policy=_APPROVAL_POLICY,
        sandbox=profile.sandbox,
        model_provider=await _gateway_of(owner, child),
    )
    try:
        reply = await child.server.request("thread/resume", params, requests.ThreadResumeResponse, THREAD_TIMEOUT_S)
    except AppServerError as error:
        if PROVIDER not in error.message:
            raise
        # The thread was used behind the gateway last, and this child knows none.
        params = msgspec.structs.replace(params, model_provider=await _provider_of(child))
        reply = await child.server.request("thread/resume", params, requests.ThreadResumeResponse, THREAD_TIMEOUT_S)
    return LoadedThread(reply.thread.id, profile.sandbox, owner.record.instructions, _sticking(turn, reply))


async def _gateway_of(owner: ThreadOwner, child: AwakeChild) -> str | None:
    """The gateway as the provider that a thread is to go on with; None where the thread's own one holds."""
    if owner.house.config.codex.provider is not Provider.GATEWAY:
        return None
    # A child that runs since another configuration was in force may know nothing of it.
    provider = await _provider_of(child)
    return provider if provider == PROVIDER else None


async def _provider_of(child: AwakeChild) -> str:
    """The provider that the child was configured with when it was started."""
    params = requests.ConfigReadParams()
    reply = await child.server.request("config/read", params, requests.ConfigReadResponse, REQUEST_TIMEOUT_S)
    return reply.config.model_provider or _CODEX_OWN


async def _start(owner: ThreadOwner, child: AwakeChild, turn: TurnRecord, profile: Profile) -> LoadedThread:
    # Effort and model go with each turn, so that the reply tells Codex's own defaults: going back to them later
    # needs their names, for an override sticks to the thread until the next one.
    params = requests.ThreadStartParams(
        cwd=turn.request.cwd,
        approval_policy=_APPROVAL_POLICY,
        sandbox=profile.sandbox,
        developer_instructions=profile.developer_instructions or None,
    )
    reply = await child.server.request("thread/start", params, requests.ThreadStartResponse, THREAD_TIMEOUT_S)
    owner.save(
        msgspec.structs.replace(
            owner.record,
            thread_id=reply.thread.id,
            instructions=profile.developer_instructions,
            default_model=reply.model,
            default_effort=reply.reasoning_effort or "",
        )
    )
    return LoadedThread(reply.thread.id, profile.sandbox, profile.developer_instructions, _sticking(turn, reply))


def _sticking(turn: TurnRecord, reply: requests.ThreadStartResponse | requests.ThreadResumeResponse) -> dict[str, str]:
    """Return the overrides that hold after a thread was opened for `turn`, as far as they are known."""
    known = {"cwd": turn.request.cwd, "approval_policy": _APPROVAL_POLICY, "model": reply.model}
    return known | ({"effort": reply.reasoning_effort} if reply.reasoning_effort else {})


def _thread_is_gone(error: AppServerError) -> bool:
    # The only sign that Codex gives is its sentence. A file that was made and not yet written when Codex was killed is
    # empty; nothing of the conversation is in it.
    return any(words in error.message for words in ("no rollout found", "failed to read thread"))


def set_history_aside(codex_home: Path, error: AppServerError, wall_ns: int) -> list[Path]:
    """Where `error` says that Codex's history database is damaged, rename it and return the new names.

    Codex 0.163.0 mends its other databases by itself, and refuses every thread for this one. It holds nothing that is
    not in the rollout files: Codex makes it anew from them.
    """
    if "thread history" not in error.message or not _DAMAGED.search(error.message):
        return []
    stamp = datetime.fromtimestamp(wall_ns / 1e9, UTC).strftime("%Y%m%dT%H%M%SZ")
    moved = []
    for path in sorted(codex_home.glob("thread_history_*.sqlite*")):
        if ".damaged-" not in path.name:
            target = path.with_name(f"{path.name}.damaged-{stamp}")
            with contextlib.suppress(FileNotFoundError):  # another instance's turn was faster
                path.rename(target)
                moved.append(target)
    return moved


def turn_params(
    owner: ThreadOwner, thread: LoadedThread, turn: TurnRecord, profile: Profile, *, go_on: bool
) -> requests.TurnStartParams:
    """Return what the turn is sent with; `go_on` sends no input, so that the model goes on from the history.

    Any override makes Codex answer 3.5 ms later, and all of them stick: only those that change are sent. They are in
    doubt until `note_sent`.
    """
    request = turn.request
    inputs: list[requests.UserInput] = []
    if not go_on:
        inputs.append(requests.TextInput(text=request.prompt))
        inputs += [requests.LocalImageInput(path=path) for path in request.images]
    model = profile.model or owner.record.default_model
    effort = str(profile.effort) or owner.record.default_effort
    changed = profile.developer_instructions != thread.instructions
    collaboration = requests.CollaborationMode(
        mode="default",
        settings=requests.CollaborationSettings(
            model=model,
            reasoning_effort=effort or None,
            developer_instructions=_changed_instructions(thread.instructions, profile.developer_instructions) or None,
        ),
    )
    wanted = {
        "cwd": request.cwd,
        "model": model,
        "effort": effort,
        "summary": str(profile.summary),
        "approval_policy": _APPROVAL_POLICY,
    }
    thread.sent = {name: value for name, value in wanted.items() if value and thread.sticking.get(name) != value}
    if "model" in thread.sent and effort:
        # Another model may bring its own.
        thread.sent["effort"] = effort
    for name in thread.sent:
        thread.sticking.pop(name, None)
    return requests.TurnStartParams(
        thread_id=thread.id,
        input=inputs,
        client_user_message_id=None if go_on else turn.id,
        cwd=thread.sent.get("cwd"),
        model=thread.sent.get("model"),
        effort=thread.sent.get("effort"),
        summary=thread.sent.get("summary"),
        approval_policy=thread.sent.get("approval_policy"),
        # The mode was given with the thread, where the user's own settings of it (writable roots, network) hold.
        # Only a change is sent, as a policy without those settings.
        sandbox_policy={"type": _SANDBOX_POLICIES[profile.sandbox]} if profile.sandbox != thread.sandbox else None,
        output_schema=json.loads(request.output_schema) if request.output_schema else None,
        collaboration_mode=collaboration if changed and model else None,
    )


async def send_turn(child: AwakeChild, params: requests.TurnStartParams, review: ReviewRecord | None) -> str:
    """Have Codex begin a turn, or a review with the settings of one; return Codex's id of it.

    Raises `AppServerError` where Codex refuses, `ChildFailed` or `TimedOut` where it does not answer.
    """
    if review is None:
        started = await child.server.request("turn/start", params, requests.TurnStartResponse, REQUEST_TIMEOUT_S)
        return started.turn.id
    # review/start takes no settings; those of the thread hold.
    settings = requests.ThreadSettingsUpdateParams(
        thread_id=params.thread_id,
        cwd=params.cwd,
        model=params.model,
        effort=params.effort,
        summary=params.summary,
        approval_policy=params.approval_policy,
        sandbox_policy=params.sandbox_policy,
        collaboration_mode=params.collaboration_mode,
    )
    await child.server.request("thread/settings/update", settings, requests.Empty, REQUEST_TIMEOUT_S)
    begin = requests.ReviewStartParams(thread_id=params.thread_id, target=codex_target(review), delivery="inline")
    reply = await child.server.request("review/start", begin, requests.ReviewStartResponse, REQUEST_TIMEOUT_S)
    return reply.turn.id


async def is_active(child: AwakeChild, thread: LoadedThread) -> bool:
    """Return whether Codex works on the thread now."""
    params = requests.ThreadReadParams(thread_id=thread.id)
    reply = await child.server.request("thread/read", params, requests.ThreadReadResponse, REQUEST_TIMEOUT_S)
    return reply.thread.status.type == "active"


def _changed_instructions(old: str, new: str) -> str:
    # Codex leaves earlier instructions in the conversation and says nothing of their end.
    return f"{_WITHDRAWN} {new}".rstrip() if old else new


def note_sent(owner: ThreadOwner, thread: LoadedThread, profile: Profile) -> None:
    """Remember what now sticks to the thread."""
    thread.sticking |= thread.sent
    thread.sandbox = profile.sandbox
    if thread.instructions != profile.developer_instructions:
        thread.instructions = profile.developer_instructions
        owner.save(msgspec.structs.replace(owner.record, instructions=profile.developer_instructions))


def refusal(error: AppServerError) -> tuple[Cause, str]:
    """Return the cause and a sentence for a request that Codex refused."""
    if "active writer" in error.message:
        return Cause.CODEX, f"another process has the thread open ({error.message}); end it, then ask again"
    return Cause.CODEX, f"Codex refused: {error.message}; run `codexctl doctor`"
