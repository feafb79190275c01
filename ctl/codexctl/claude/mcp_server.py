"""`codexctl mcp`: this session's Codex as tools for Claude Code's model.

The calls to the service block, so each runs in a thread; this is the asyncio side of them. A tool call that Claude Code
cancels interrupts its turn. A Claude Code that goes away does not: the turn is found again with `codexctl attach`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import anyio
import mcp_types as types
from codex_control.errors import BadInput, CodexError, NotFound
from codex_control.safe_text import duration_text
from codex_control.v1.instances_pb2 import ClaudeProcess, GetInstanceRequest, GetInstanceResponse, InstanceRef
from codex_control.v1.outcome_pb2 import OUTCOME_COMPLETED
from codex_control.v1.turns_pb2 import (
    AskRequest,
    InterruptRequest,
    InterruptResponse,
    ReviewRequest,
    ReviewTarget,
    Turn,
    TurnEvent,
)
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from codexctl.claude.answer_text import Notices, error_text, late_text, source_line, turn_text
from codexctl.claude.bridge import Bridge
from codexctl.claude.lease import bound_instance, claude_pid
from codexctl.claude.mcp_tools import TOOLS, check_arguments
from codexctl.claude.session_tasks import FOR_MODEL, SessionTasks
from codexctl.claude.slash import Status
from codexctl.feed import FeedItem, TurnFeed
from codexctl.instance_ref import Named, working_directory
from codexctl.revision import check_revision
from codexctl.session import Session
from codexctl.turn_directory import fallback_directory
from codexctl.view.activity import Activity, next_activity
from codexctl.view.lines import ended_line

_log = logging.getLogger(__name__)

# Less than the server's `timeout` in the plugin's .mcp.json, past which Claude Code would cancel the call.
CALL_LIMIT_S = 3500.0
# Claude Code takes a server that says nothing for one that hangs.
_PROGRESS_S = 5.0
# How long after a cancelled call the message that cancelled it may come: the library cancels first, then passes it on.
_CANCEL_SETTLES_S = 0.3

Arguments = dict[str, Any]


def serve(session: Session) -> None:
    """Serve on standard input and output until it ends."""
    tools = _Tools(session)
    server: Server[Any] = Server("codex", version=_version(), on_list_tools=_list_tools, on_call_tool=tools.call)
    server.middleware.append(tools.note_cancelled)

    async def run() -> None:
        async with stdio_server() as (reader, writer):
            await server.run(reader, writer, server.create_initialization_options())

    anyio.run(run)


def _version() -> str:
    from importlib.metadata import version

    return version("codex-supervisor")


async def _list_tools(
    context: ServerRequestContext[Any],  # noqa: ARG001 # the library's signature
    params: types.PaginatedRequestParams | None,  # noqa: ARG001
) -> types.ListToolsResult:
    return types.ListToolsResult(tools=list(TOOLS))


class _Tools:
    """The tools of one Claude Code process."""

    def __init__(self, session: Session) -> None:
        # Claude Code says its pid to hooks and shells, not to servers: one that is said here is that of the Claude Code
        # in whose shell ours was started, and its Codex is another session's.
        self._environ = {name: value for name, value in session.environ.items() if name != "CLAUDE_PID"}
        self._may_start = session.may_start
        self._claude = claude_pid(self._environ)
        self._cancelled: dict[object, asyncio.Event] = {}

    async def note_cancelled(self, ctx: ServerRequestContext[Any], call_next: CallNext) -> HandlerResult:
        """A middleware that tells a call whether the client cancelled it, as opposed to going away."""
        if ctx.method == "notifications/cancelled" and ctx.params:
            known = self._cancelled.get(ctx.params.get("requestId"))
            if known is not None:
                known.set()
        return await call_next(ctx)

    async def call(
        self, context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        """Perform a tool; what cannot be done is told to the model as an error, with what to do."""
        arguments = params.arguments or {}
        try:
            check_arguments(params.name, arguments)
            match params.name:
                case "ask":
                    return await self._turn(context, lambda session: self._begin_ask(session, arguments))
                case "review":
                    return await self._turn(context, lambda session: self._begin_review(session, arguments))
                case "status":
                    return _result(await asyncio.to_thread(self._status))
                case "task_submit" | "task_status" | "task_result":
                    return _result(await asyncio.to_thread(self._task, params.name, arguments))
                case "cancel" if _text(arguments, "task"):
                    return _result(await asyncio.to_thread(self._task, "cancel", arguments))
                case _:
                    return _result(await asyncio.to_thread(self._cancel, _text(arguments, "turn")))
        except CodexError as error:
            return _result(error_text(error), is_error=True)

    # --- in a thread ------------------------------------------------------------------------------------------------

    def _session(self) -> Session:
        return Session(may_start=self._may_start, environ=self._environ)

    def _named(self, session: Session) -> Named:
        """This process's instance; bound here only where the SessionStart hook did not."""
        if not session.environ.get("CODEX_INSTANCE"):
            request = GetInstanceRequest(instance=InstanceRef(claude_process=ClaudeProcess(pid=self._claude)))
            try:
                found = session.client(start=True).call("Instances.Get", request, GetInstanceResponse).instance
            except NotFound:
                pass
            else:
                return Named("id", found.id)
        # After /clear the environment names the session before it, but then the process is bound.
        return bound_instance(session, session.environ.get("CLAUDE_CODE_SESSION_ID") or f"process-{self._claude}")

    def _begin_ask(self, session: Session, arguments: Arguments) -> TurnFeed:
        question = _text(arguments, "question")
        if not question.strip():
            raise BadInput("the question is empty", next_step="give `question` some text")
        named = self._named(session)
        request = AskRequest(
            instance=named.ref(),
            request_id=str(uuid.uuid4()),
            prompt=question,
            profile=_text(arguments, "profile"),
            fallback_cwd=fallback_directory(named),
        )
        return self._begin(session, request)

    def _begin_review(self, session: Session, arguments: Arguments) -> TurnFeed:
        base = _text(arguments, "base")
        if base:
            check_revision(base, str(working_directory()))
        named = self._named(session)
        request = ReviewRequest(
            instance=named.ref(),
            request_id=str(uuid.uuid4()),
            target=ReviewTarget(base=base) if base else ReviewTarget(uncommitted=True),
            focus=_text(arguments, "focus"),
            fallback_cwd=fallback_directory(named),
        )
        return self._begin(session, request)

    def _begin(self, session: Session, request: AskRequest | ReviewRequest) -> TurnFeed:
        feed = TurnFeed(lambda start: session.client(start=start), ask=request)
        feed.begin(session.client(start=True))
        return feed

    def _status(self) -> str:
        session = self._session()
        try:
            return Bridge(session, lambda: self._named(session), 15.0, time.monotonic()).perform(Status())
        finally:
            session.close()

    def _cancel(self, turn_id: str) -> str:
        session = self._session()
        try:
            request = InterruptRequest(turn_id=turn_id)
            if not turn_id:
                request.instance.CopyFrom(self._named(session).ref())
            turn = session.client(start=False).call("Turns.Interrupt", request, InterruptResponse, timeout_s=30).turn
            return f"{source_line(turn)}: {ended_line(turn)}"
        finally:
            session.close()

    def _task(self, tool: str, arguments: Arguments) -> str:
        session = self._session()
        tasks = SessionTasks(session, lambda: self._named(session), FOR_MODEL)
        try:
            match tool:
                case "task_submit":
                    order, worktree = _text(arguments, "order"), arguments.get("worktree") is True
                    return tasks.submit(order, profile=_text(arguments, "profile"), worktree=worktree)
                case "task_result":
                    return tasks.result(_text(arguments, "task"))
                case "cancel":
                    return tasks.cancel(_text(arguments, "task"))
                case _:
                    named = _text(arguments, "task")
                    return tasks.show(named) if named else tasks.overview()
        finally:
            session.close()

    def _interrupt(self, feed: TurnFeed) -> None:
        try:
            self._cancel(feed.attach_id)
        except CodexError as error:
            _log.warning("a cancelled turn was not interrupted: %s", error)

    # --- a turn -----------------------------------------------------------------------------------------------------

    async def _turn(
        self, context: ServerRequestContext[Any], begin: Callable[[Session], TurnFeed]
    ) -> types.CallToolResult:
        session = self._session()
        cancelled = self._cancelled[context.request_id] = asyncio.Event()
        feed: TurnFeed | None = None
        try:
            feed = await asyncio.to_thread(begin, session)
            return await self._follow(context, feed)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                with anyio.move_on_after(_CANCEL_SETTLES_S):
                    await cancelled.wait()
                if cancelled.is_set() and feed is not None:
                    await asyncio.to_thread(self._interrupt, feed)
            raise
        finally:
            del self._cancelled[context.request_id]
            # Its clients are closed with it: the thread that follows the turn ends then, if it has not.
            session.may_start = False
            session.close()

    async def _follow(self, context: ServerRequestContext[Any], feed: TurnFeed) -> types.CallToolResult:
        inbox: asyncio.Queue[FeedItem | BaseException] = asyncio.Queue()
        threading.Thread(target=_pump, args=(feed, inbox, asyncio.get_running_loop()), daemon=True).start()
        began_s, told_s, reports = time.monotonic(), 0.0, 0
        activity, notices = Activity("asking Codex", began_s), Notices()
        while (waited_s := time.monotonic() - began_s) < CALL_LIMIT_S:
            try:
                item = await asyncio.wait_for(inbox.get(), _PROGRESS_S)
            except TimeoutError:
                item = None
            if isinstance(item, BaseException):
                raise item
            before = activity.what
            if isinstance(item, TurnEvent):
                notices.take(item)
                if item.WhichOneof("event") == "ended":
                    return _ended(item.ended.turn, notices)
                activity = next_activity(activity, item, time.monotonic())
            if activity.what != before or time.monotonic() - told_s >= _PROGRESS_S:
                told_s, reports = time.monotonic(), reports + 1
                where = f"turn {feed.turn_id}" if feed.turn_id else "not yet accepted"
                text = f"Codex: {activity.text()} · {duration_text(int(waited_s))} · {where}"
                await context.session.report_progress(reports, message=text)
        return _result(late_text(feed.attach_id, CALL_LIMIT_S), is_error=True)


def _pump(feed: TurnFeed, inbox: asyncio.Queue[FeedItem | BaseException], loop: asyncio.AbstractEventLoop) -> None:
    try:
        for item in feed:
            loop.call_soon_threadsafe(inbox.put_nowait, item)
    except Exception as error:  # it is raised again in the call
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is left to be told
            loop.call_soon_threadsafe(inbox.put_nowait, error)


def _ended(turn: Turn, notices: Notices) -> types.CallToolResult:
    completed = turn.outcome == OUTCOME_COMPLETED
    head = [f"{source_line(turn)} answered:", ""] if completed else []
    text = turn_text(turn, notices.lines(), final_only=False)
    return _result("\n".join([*head, text]), is_error=not completed)


def _result(text: str, *, is_error: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=is_error)


def _text(arguments: Arguments, name: str) -> str:
    value: str = arguments.get(name, "")
    return value
