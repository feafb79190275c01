"""Performs a /codex command and says what came of it."""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from codex_control.errors import CodexError, ServiceUnavailable, TimedOut

from codexctl.claude.slash import (
    Ask,
    CancelTask,
    Help,
    ListTasks,
    Review,
    SetProfile,
    SetSwitch,
    ShowResult,
    ShowSettings,
    Slash,
    Start,
    Status,
    Stop,
    SubmitTask,
    help_text,
)
from codexctl.session import Session

if TYPE_CHECKING:
    from codex_control.v1.instances_pb2 import ConfigureRequest, Instance
    from codex_control.v1.turns_pb2 import AskRequest, ReviewRequest

    from codexctl.claude.session_tasks import SessionTasks
    from codexctl.client import Client
    from codexctl.instance_ref import Named


@dataclass(frozen=True)
class Bridge:
    """One command of one Claude Code session. It may take `limit_s` seconds from `began_s` (monotonic) on.

    `find` binds the session and returns its instance; it may start the service.
    """

    session: Session
    find: Callable[[], Named]
    limit_s: float
    began_s: float

    def perform(self, command: Slash) -> str:
        """Do it, and return what the person is shown. Raises a `CodexError` where it cannot be done."""
        match command:
            case Help():
                return help_text()
            case Ask(text):
                return self._ask(text)
            case Review(base, focus):
                return self._review(base, focus)
            case ShowSettings():
                return self._settings()
            case SetProfile(name):
                return self._set_profile(name)
            case SetSwitch(setting, on):
                return self._set_switch(setting, on)
            case Status():
                return self._status()
            case Start():
                return self._start()
            case Stop(force):
                return self._stop(force)
            case SubmitTask(text):
                return self._tasks.submit(text)
            case ListTasks():
                return self._tasks.overview()
            case ShowResult(task):
                return self._tasks.result(task)
            case CancelTask(task):
                return self._tasks.cancel(task)
            case _:
                assert_never(command)

    @functools.cached_property
    def named(self) -> Named:
        """The session's instance; bound when it is first wanted, for /codex-help needs none."""
        return self.find()

    @property
    def _tasks(self) -> SessionTasks:
        from codexctl.claude.session_tasks import SessionTasks

        return SessionTasks(self.session, lambda: self.named)

    @property
    def _left_s(self) -> float:
        return max(0.0, self.limit_s - (time.monotonic() - self.began_s))

    def _connect(self) -> Client:
        return self.session.client(start=False)

    # --- turns ------------------------------------------------------------------------------------------------------

    def _ask(self, text: str) -> str:
        from codexctl.prompt_input import read_text

        prompt = read_text(text) if text != "-" else text

        from codex_control.v1.turns_pb2 import AskRequest

        from codexctl.turn_directory import fallback_directory

        client = self.session.client(start=True)
        request = AskRequest(
            instance=self.named.ref(),
            request_id=str(uuid.uuid4()),
            prompt=prompt,
            fallback_cwd=fallback_directory(self.named),
        )
        return self._await(client, request)

    def _review(self, base: str, focus: str) -> str:
        from codexctl.instance_ref import working_directory
        from codexctl.revision import check_revision

        if base:
            check_revision(base, str(working_directory()))

        from codex_control.v1.turns_pb2 import ReviewRequest, ReviewTarget

        from codexctl.turn_directory import fallback_directory

        client = self.session.client(start=True)
        request = ReviewRequest(
            instance=self.named.ref(),
            request_id=str(uuid.uuid4()),
            target=ReviewTarget(base=base) if base else ReviewTarget(uncommitted=True),
            focus=focus,
            fallback_cwd=fallback_directory(self.named),
        )
        return self._await(client, request)

    def _await(self, client: Client, request: AskRequest | ReviewRequest) -> str:
        from codexctl.claude.answer_text import Notices, late_text, turn_text
        from codexctl.claude.waiting import Esc, wait_for_turn
        from codexctl.feed import TurnFeed

        notices = Notices()
        feed = TurnFeed(lambda start: self.session.client(start=start), ask=request)
        with Esc(request.request_id):
            feed.begin(client)
            turn = wait_for_turn(feed, notices, self._left_s)
        if turn is None:
            return "\n".join([*notices.lines(), late_text(feed.attach_id, self.limit_s)])
        return turn_text(turn, notices.lines(), final_only=self._final_only(turn.instance))

    def _final_only(self, instance: str) -> bool:
        from codex_control.v1.instances_pb2 import GetInstanceRequest, GetInstanceResponse, InstanceRef

        request = GetInstanceRequest(instance=InstanceRef(id=instance))
        try:
            found = self._connect().call("Instances.Get", request, GetInstanceResponse).instance
        except CodexError:
            return False  # a detail too many is better than an answer that is not shown
        return found.settings.final_only

    # --- settings ---------------------------------------------------------------------------------------------------

    def _settings(self) -> str:
        from codex_control.v1.admin_pb2 import ProfilesRequest, ProfilesResponse

        from codexctl.instance_table import setting_text

        client = self.session.client(start=True)
        profiles = client.call("Admin.Profiles", ProfilesRequest(), ProfilesResponse).profiles
        names = ", ".join(profile.name for profile in profiles)
        found = self._found(client)
        lines = [
            f"profile          {found.settings.profile}  (there are: {names})",
            f"reasoning        {_on_off(found.settings.show_reasoning)}",
            f"final_only       {_on_off(found.settings.final_only)}",
        ]
        lines += [f"{key:<15}  {setting_text(found, key)}" for key in ("approval_policy", "on_interrupted", "cwd")]
        return "\n".join([f"instance {found.id}", *lines])

    def _set_profile(self, name: str) -> str:
        from codex_control.v1.instances_pb2 import ConfigureRequest

        changed = self._configure(ConfigureRequest(profile=name))
        return f"profile: {changed.settings.profile}, from the next turn on (instance {changed.id})"

    def _set_switch(self, setting: str, on: bool) -> str:
        from codex_control.v1.instances_pb2 import ConfigureRequest

        request = ConfigureRequest()
        setattr(request, setting, on)
        changed = self._configure(request)
        shown = {"show_reasoning": "reasoning summaries", "final_only": "final answer only"}[setting]
        return f"{shown}: {_on_off(on)}, from the next turn on (instance {changed.id})"

    def _configure(self, request: ConfigureRequest) -> Instance:
        from codex_control.v1.instances_pb2 import ConfigureResponse

        request.instance.CopyFrom(self.named.ref())
        return self.session.client(start=True).call("Instances.Configure", request, ConfigureResponse).instance

    # --- the child --------------------------------------------------------------------------------------------------

    def _found(self, client: Client) -> Instance:
        from codex_control.v1.instances_pb2 import GetInstanceRequest, GetInstanceResponse

        request = GetInstanceRequest(instance=self.named.ref())
        return client.call("Instances.Get", request, GetInstanceResponse).instance

    def _status(self) -> str:
        try:
            client = self._connect()
        except ServiceUnavailable:
            return "the service is not running; /codex-start and /codex-ask start it"

        from codex_control.v1.admin_pb2 import VersionRequest, VersionResponse

        from codexctl.instance_table import service_lines

        service = list(service_lines(client.call("Admin.Version", VersionRequest(), VersionResponse)))
        return "\n".join([*_instance_lines(self._found(client)), *service])

    def _start(self) -> str:
        from codex_control.v1.instances_pb2 import StartRequest, StartResponse

        from codexctl.instance_ref import git_root, working_directory

        request = StartRequest(instance=self.named.ref(), cwd=str(git_root(working_directory())))
        client = self.session.client(start=True)
        started = client.call("Instances.Start", request, StartResponse, timeout_s=self._left_s).instance
        return "\n".join(_instance_lines(started))

    def _stop(self, force: bool) -> str:
        from codex_control.v1.instances_pb2 import StopRequest, StopResponse

        try:
            client = self._connect()
        except ServiceUnavailable:
            return "the service is not running, and so is no Codex"
        request = StopRequest(instance=self.named.ref(), force=force)
        try:
            stopped = client.call("Instances.Stop", request, StopResponse, timeout_s=self._left_s).instance
        except TimedOut:
            return "the running turn has not ended; Codex stops after it. /codex-stop --force cuts it off"
        return f"{_instance_lines(stopped)[0]}\nits history and conversation stay; /codex-ask wakes it"


def _instance_lines(instance: Instance) -> list[str]:
    from codex_control.safe_text import one_line

    from codexctl.instance_table import state_name

    settings = instance.settings
    facts = [
        f"instance {instance.id}",
        state_name(instance.state),
        f"profile {settings.profile}",
        f"reasoning {_on_off(settings.show_reasoning)}",
        f"final_only {_on_off(settings.final_only)}",
    ]
    lines = [" · ".join(facts)]
    if instance.detail:
        lines.append(one_line(instance.detail, 500))
    if instance.turn_id:
        waiting = f", {instance.queued} wait" if instance.queued else ""
        lines.append(f"turn {instance.turn_id} runs{waiting} · show it with: codexctl attach {instance.turn_id}")
    return lines


def _on_off(value: bool) -> str:
    return "on" if value else "off"
