"""The composition root: configuration, store, instances and servers put together, and the signals that end it all.

`serve` is what the service unit starts. The order matters: the lock before anything is touched, what an earlier
supervisor left before the first call is taken, and readiness only then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from codex_control import __version__
from codex_control.errors import BadConfig, CodexError, CodexUnusable
from codex_control.paths import Paths, make_private_dir
from codex_control.service.clock import Clock, SystemClock
from codex_control.service.lock import SupervisorLock
from codex_control.service.logs import Logs, log_file, start_logs
from codex_control.service.notify import Notifier, feed_watchdog, watchdog_limit_s
from codex_control.service.owned_tasks import TaskSet
from codex_control.v1 import admin_pb2

from codex_supervisor.child.cgroups import delegated_cgroup, start_controllers
from codex_supervisor.child.identity import TOKEN_VARIABLE
from codex_supervisor.child.installed import InstalledCodex
from codex_supervisor.child.locate import codex_word
from codex_supervisor.child.orphans import OrphanReaper, become_subreaper
from codex_supervisor.claude.leases import Leases
from codex_supervisor.claude.status_files import StatusFiles
from codex_supervisor.codex_home import codex_home
from codex_supervisor.config.model import Config
from codex_supervisor.config.serving import load_service_config
from codex_supervisor.degraded import Degraded
from codex_supervisor.footprint import settle, share_one_arena
from codex_supervisor.house import House
from codex_supervisor.instance.asks import Asks
from codex_supervisor.instance.children import load_app_server
from codex_supervisor.instance.fleet import Fleet
from codex_supervisor.instance.monitor import Monitor
from codex_supervisor.instance.revival import revive
from codex_supervisor.metrics import Metrics
from codex_supervisor.metrics_server import start_metrics_server
from codex_supervisor.osservice.successor import late_import
from codex_supervisor.rpc.interceptor import CallInterceptor
from codex_supervisor.rpc.server import ControlServer
from codex_supervisor.rpc.services import add_services
from codex_supervisor.status_line import keep_status_line, status_line
from codex_supervisor.store.store import Store
from codex_supervisor.task.contract import Engine
from codex_supervisor.task.manager import TaskManager
from codex_supervisor.task.opening import missing_engine, open_engine, worker_of
from codex_supervisor.turn.messages import timestamp

if TYPE_CHECKING:
    from codex_supervisor.doctor.check import CheckResult

_log = logging.getLogger(__name__)

# Calls that are under way when the supervisor ends get this long; their turns go on under the next one.
_RPC_GRACE_S = 0.5

# Between two looks at whether the control socket is still there.
_REACHABLE_INTERVAL_S = 2.0

_TASKS_FIX = 'docs/tasks.md, "Engines", says what each engine needs; sessions and their asks do without'


def serve(paths: Paths, *, log_level: str | None = None, demo_model: bool = False, notice: str = "") -> int:
    """Run the supervisor until it is told to end; return the exit code.

    `demo_model` stands above the configuration's `codex.demo_model`. `notice` is a sentence for the log.

    Raises `CodexError` where it cannot start: another one runs, the configuration is wrong, a directory is not ours.
    """
    # Where a child of ours started us, we are not part of its tree: what we start must not die with it.
    os.environ.pop(TOKEN_VARIABLE, None)
    share_one_arena()
    load = partial(load_service_config, paths.config_file, demo_model=demo_model)
    config = load()
    for directory in (paths.state_dir, paths.runtime_dir, paths.children_dir, paths.log_dir):
        make_private_dir(directory)
    lock = SupervisorLock(paths.lock_file, also=paths.state_lock_file)
    lock.acquire()
    try:
        metrics = Metrics()
        logs = start_logs(
            log_level or config.log.level,
            file=log_file(paths),
            file_limit_bytes=config.log.file_limit,
            files_kept=config.log.files_kept,
            more=(metrics.log_handler(),),
        )
        try:
            if notice:
                _log.info(notice)
            daemon = Daemon(paths, config, metrics, logs, load)
            replace = asyncio.run(daemon.run())
        finally:
            logs.close()
        if replace:
            lock.hand_over()
            # The same interpreter and arguments; what is installed by now is what runs then.
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606
    finally:
        lock.release()
    return 0 if daemon.failure is None else 1


class Daemon:
    """One run of the supervisor."""

    def __init__(
        self, paths: Paths, config: Config, metrics: Metrics, logs: Logs, load_config: Callable[[], Config]
    ) -> None:
        self.paths = paths
        self._load_config = load_config
        self.failure: BaseException | None = None
        self._first_config = config
        self._metrics = metrics
        self._logs = logs
        self._clock: Clock = SystemClock()
        self._started_ns = self._clock.wall_ns()
        self._notifier = Notifier(self._clock)
        self._degraded = Degraded(metrics)
        self._codex = InstalledCodex(os.environ, self._degraded, metrics)
        self._metrics_url = ""
        self._replace = False
        self._serving = False

    async def run(self) -> bool:
        """Start, serve and end; return whether the program is to be replaced by the installed one."""
        self._stop = asyncio.Event()
        tasks = TaskSet(self._task_failed)
        async with contextlib.AsyncExitStack() as stack:
            # From the first moment to the last: what is told to end, while it starts or ends, leaves no child behind.
            self._handle_signals(stack)
            # Last in, first out: the store is closed after everything that writes to it.
            self._house = await self._build_house(tasks, stack)
            engine = await self._open_task_engine(stack)
            stack.push_async_callback(tasks.cancel)
            self._fleet = Fleet(self._house)
            self._asks = Asks(self._fleet)
            stack.push_async_callback(self._let_go)
            stack.push(self._start_failed)
            self._metrics.watch_instances(self._fleet.states)
            self._fleet.load(await self._house.store.load_instances())
            reaper = self._become_reaper()
            stack.callback(reaper.close)
            await revive(self._fleet, self._asks)
            self._tasks = self._make_task_manager(engine)
            self._leases = Leases(self._fleet)
            stack.callback(self._leases.close)
            self._leases.restore()
            server = await self._start_server(engine, stack)
            await self._start_metrics_page(stack)
            Monitor(self._fleet).start()
            if self._tasks is not None:
                self._tasks.start()
            tasks.start(self._metrics.sample_loop_lag(self._clock), "sample loop lag")
            await server.set_serving(True)
            self._announce_ready(tasks)
            tasks.start(self._stay_reachable(server, engine, stack), "stay reachable")
            await self._stop.wait()
            if self._tasks is not None:
                await self._tasks.stop(replaced=self._replace or self.failure is not None)
            for shell in self._fleet.shells.values():
                # From here on nothing is decided: a call that ends with the server must not cancel its turn.
                shell.freeze()
            _log.info("stopping", extra={"because": self._why_it_stops()})
            if not self._replace:
                self._notifier.stopping("stopping")
        if self.failure is not None:
            _log.critical("stopped_by_failure", extra={"error": repr(self.failure)})
        return self._replace and self.failure is None

    # --- starting ---------------------------------------------------------------------------------------------------

    async def _build_house(self, tasks: TaskSet, stack: contextlib.AsyncExitStack) -> House:
        config = self._first_config
        store = await Store.open(
            self.paths.database,
            archive_dir=self.paths.archive_dir,
            clock=self._clock,
            entries_per_instance=config.history.entries_per_instance,
            on_commit=self._metrics.journal_write_seconds.observe,
        )
        stack.push_async_callback(store.close)
        if store.quarantined is not None:
            self._metrics.store_quarantines.inc()
            self._degraded.add(
                "store", f"the store was damaged; it is set aside as {store.quarantined}, and a new one runs"
            )
        house = House(
            clock=self._clock,
            store=store,
            metrics=self._metrics,
            paths=self.paths,
            config=config,
            tasks=tasks,
            binary=self._codex.find,
            environment=dict(os.environ),
            codex_home=str(codex_home(config.codex.home, os.environ)),
            cgroup=self._take_cgroup(),
        )
        self._apply(house, config)
        if any(name.startswith("OTEL_") for name in os.environ):
            # Seldom wanted, and not small.
            from codex_supervisor.tracing import start_tracing

            house.tracing = start_tracing(store, tasks, os.environ)
            if house.tracing is not None:
                stack.push_async_callback(house.tracing.close)
        if config.codex.demo_model:
            await self._start_demo_model(house, stack)
        with contextlib.suppress(CodexUnusable):
            await self._codex.find()
        return house

    def _take_cgroup(self) -> Path | None:
        cgroup = delegated_cgroup(os.environ)
        if cgroup is not None:
            started = start_controllers(cgroup)
            _log.info("control_group", extra={"group": str(cgroup), "controllers": list(started)})
        return cgroup

    async def _open_task_engine(self, stack: contextlib.AsyncExitStack) -> Engine:
        config = self._house.config.tasks
        try:
            engine = await open_engine(
                config, self.paths, clock=self._clock, environ=os.environ, on_failure=self._task_failed
            )
        except CodexError as error:
            # The sessions' asks matter more; whoever wants a task hears why there is none.
            self._hear_of_tasks(str(error))
            return missing_engine(error)
        stack.push_async_callback(engine.close)
        return engine

    def _make_task_manager(self, engine: Engine) -> TaskManager | None:
        if self._degraded.why("tasks"):
            return None
        worker = worker_of(self._house.config.tasks)
        return TaskManager(engine, worker, self._fleet, self._asks, on_trouble=self._hear_of_tasks)

    def _hear_of_tasks(self, why: str) -> None:
        self._metrics.task_engine_up.set(0 if why else 1)
        if why:
            self._degraded.add("tasks", why)
        else:
            self._degraded.mend("tasks")

    async def _start_demo_model(self, house: House, stack: contextlib.AsyncExitStack) -> None:
        # Needs the extra `demo`, which the service without it must not.
        from codex_supervisor.demo.model import demo_overrides, start_demo_model

        # Its threads are no part of the user's own conversations.
        home = make_private_dir(self.paths.state_dir / "demo-codex-home")
        model = await start_demo_model(
            home / "demo-model.json", codex_word(house.config.codex.binary, house.environment)
        )
        stack.push_async_callback(model.stop)
        house.child_overrides = demo_overrides(model.port)
        house.child_secrets = dict(model.environment)
        house.codex_home = str(home)

    def _become_reaper(self) -> OrphanReaper:
        become_subreaper()
        reaper = OrphanReaper(self._is_own_child)
        reaper.start()
        return reaper

    def _is_own_child(self, pid: int) -> bool:
        return any(shell.owns(pid) for shell in self._fleet.shells.values())

    async def _start_server(self, engine: Engine, stack: contextlib.AsyncExitStack) -> ControlServer:
        server = ControlServer(self.paths.control_socket, [CallInterceptor(self._clock, self._metrics.call_ended)])
        add_services(
            server.grpc, asks=self._asks, leases=self._leases, engine=engine, intake=self._tasks, supervisor=self
        )
        await server.start()
        stack.push_async_callback(server.stop, _RPC_GRACE_S)
        return server

    async def _stay_reachable(self, server: ControlServer, engine: Engine, stack: contextlib.AsyncExitStack) -> None:
        """Bind the socket again where it was removed: the runtime directory goes with the user's last login."""
        while not self._stop.is_set():
            await asyncio.sleep(_REACHABLE_INTERVAL_S)
            if self._stop.is_set() or not server.is_removed:
                continue
            with contextlib.suppress(CodexError, OSError):  # until the next login there may be no place for it
                make_private_dir(self.paths.runtime_dir)
                # The one before serves whoever is connected, to its end.
                server = await self._start_server(engine, stack)
                await server.set_serving(True)
                _log.warning("control_socket_bound_again", extra={"why": "it had been removed"})

    async def _start_metrics_page(self, stack: contextlib.AsyncExitStack) -> None:
        page = self._house.config.metrics
        if not page.enabled:
            return
        try:
            server = await start_metrics_server(
                self._metrics, page.port, healthy=lambda: "; ".join(self._degraded.sentences), address=page.address
            )
        except BadConfig as error:
            # The answers matter more than the figures about them.
            self._degraded.add("metrics", str(error))
        else:
            self._metrics_url = server.url
            stack.push_async_callback(server.close)

    def _handle_signals(self, stack: contextlib.AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        handlers: dict[signal.Signals, Callable[[], object]] = {
            signal.SIGTERM: self._end,
            signal.SIGINT: self._end,
            signal.SIGHUP: self._reload_on_signal,
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
            stack.callback(loop.remove_signal_handler, number)

    def _announce_ready(self, tasks: TaskSet) -> None:
        _log.info(
            "ready", extra={"pid": os.getpid(), "version": __version__, "instances": sum(self._fleet.states().values())}
        )
        self._serving = True
        self._notifier.ready(self._status_line())
        tasks.start(keep_status_line(self._notifier, self._fleet, self._tasks, self._degraded), "status line")
        tasks.start(StatusFiles(self._fleet, self.paths.status_dir).keep(), "status files")
        limit_s = watchdog_limit_s()
        if limit_s is not None:
            tasks.start(feed_watchdog(self._notifier, limit_s, self._house.store.ping), "watchdog")
        # No later: an upgrade may replace it on disk.
        load_app_server()
        settle()

    # --- while it runs ----------------------------------------------------------------------------------------------

    def _end(self) -> None:
        # The later wish, where a replacement is under way.
        self._replace = False
        self._stop.set()

    def _start_failed(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        # What was adopted by then is left for the next start.
        self.failure = self.failure or error

    def _task_failed(self, error: BaseException) -> None:
        # Nothing goes on half dead: systemd starts us again, and the children are adopted.
        self.failure = self.failure or error
        self._stop.set()

    def _why_it_stops(self) -> str:
        if self.failure is not None:
            return "failure"
        return "replacement" if self._replace else "told to"

    async def examine(self) -> list[CheckResult]:
        """See `rpc.admin.Supervisor`."""
        # Rarely called, and its imports would cost memory for ever.
        with late_import():
            from codex_supervisor.doctor.check import error, warning
            from codex_supervisor.doctor.examining import examine

        no_tasks = self._degraded.why("tasks")
        broken = [error("tasks", no_tasks, _TASKS_FIX)] if no_tasks else []
        warned = [
            warning(
                "Codex warns", sentence, "Codex says it at each start of a child; a restart of the service forgets it"
            )
            for sentence in self._house.codex_warnings
        ]
        return [*await examine(self.paths, self._house.config, os.environ), *broken, *warned]

    def version(self) -> admin_pb2.VersionResponse:
        """See `rpc.admin.Supervisor`."""
        binary = self._codex.found
        return admin_pb2.VersionResponse(
            version=__version__,
            codex_version=binary.version if binary else "",
            codex_path=binary.path if binary else "",
            pid=os.getpid(),
            started_at=timestamp(self._started_ns),
            metrics_url=self._metrics_url,
            degraded=self._degraded.sentences,
            demo_model=self._house.config.codex.demo_model,
            config_path=str(self.paths.config_file),
            state_dir=str(self.paths.state_dir),
            running_turns=self._fleet.running_turns(),
            draining=self._asks.draining,
            task_engine=str(self._first_config.tasks.engine),
            task_trouble=self._degraded.why("tasks"),
        )

    # --- reloading --------------------------------------------------------------------------------------------------

    async def reload(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """See `rpc.admin.Supervisor`. A bad configuration raises `BadConfig`, and the present one stays."""
        try:
            # Seldom wanted, and not small.
            with late_import():
                from codex_supervisor.config.reference import config_differences, keep_restart_keys

                wanted = await asyncio.to_thread(self._load_config)
        except CodexError as error:
            self._metrics.config_reloads.labels(result="refused").inc()
            _log.warning("reload_refused", extra={"why": str(error)})
            raise
        applied, needs_restart = config_differences(self._house.config, wanted)
        self._apply(self._house, keep_restart_keys(self._house.config, wanted))
        with contextlib.suppress(CodexUnusable):
            await self._codex.find()
        self._degraded.mend("config")
        self._metrics.config_reloads.labels(result="applied").inc()
        _log.info("reloaded", extra={"applied": list(applied), "needs_restart": list(needs_restart)})
        return applied, needs_restart

    def _apply(self, house: House, config: Config) -> None:
        house.config = config
        self._codex.look_for(config.codex.binary)
        self._logs.set_level(config.log.level)
        house.store.set_limits(
            entries_per_instance=config.history.entries_per_instance,
            total_bytes=config.history.total_limit,
            event_turns_per_instance=config.history.events_kept,
        )

    def _reload_on_signal(self) -> None:
        if not self._serving:
            return  # the configuration has been read a moment ago
        self._house.tasks.start(self._reload_quietly(), "reload")

    def _status_line(self) -> str:
        return status_line(self._fleet, self._tasks, self._degraded)

    async def _reload_quietly(self) -> None:
        self._notifier.reloading("reading the configuration")
        try:
            await self.reload()
        except CodexError as error:
            self._degraded.add("config", f"the configuration was not taken: {error}")
        self._notifier.ready(self._status_line())

    def replace_program(self) -> None:
        """See `rpc.admin.Supervisor`."""
        if self._stop.is_set():
            return  # it ends, and must not come back
        # Before the call is answered: `systemctl reload` then waits for the new program's word.
        self._notifier.reloading("replacing the program")
        self._replace = True
        self._stop.set()

    # --- ending -----------------------------------------------------------------------------------------------------

    async def _let_go(self) -> None:
        """End the children, or leave them running for the program that takes our place; turns stay in the journal."""
        shells = list(self._fleet.shells.values())
        await asyncio.gather(*(run.log.flushed() for shell in shells for run in shell.runs.values()))
        if self._replace or self.failure is not None:
            # Nobody may take the closed connection for the child's death.
            await self._house.tasks.cancel()
            await asyncio.gather(*(shell.leave_child() for shell in shells))
        else:
            await asyncio.gather(*(shell.end_child() for shell in shells))
