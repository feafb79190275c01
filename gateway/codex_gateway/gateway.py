"""The composition root: configuration, records, endpoints and server put together, and the signals that end it all.

`serve` is what the service unit starts. The order matters: the lock before anything is touched, records before the
first request, readiness only when the port listens. On SIGTERM no new model request is taken, those under way get
`drain.timeout` to end, and what has not ended then gets its dialect's error.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import resource
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web
from codex_control import __version__
from codex_control.errors import BadConfig, CodexError
from codex_control.paths import make_private_dir
from codex_control.service.clock import Clock, SystemClock
from codex_control.service.lock import SupervisorLock
from codex_control.service.logs import Logs, start_logs
from codex_control.service.notify import Notifier, feed_watchdog, watchdog_limit_s
from codex_control.service.own_file import write_whole
from codex_control.service.owned_tasks import TaskSet

from codex_gateway.config.model import Config
from codex_gateway.config.reading import load_config
from codex_gateway.config.reload import changes, in_force
from codex_gateway.dialect.tokens import count_tokens
from codex_gateway.ingress.admin import Admin, LastErrors
from codex_gateway.ingress.admin_messages import AboutGateway
from codex_gateway.ingress.limits import Limits
from codex_gateway.ingress.listening import Server
from codex_gateway.ingress.model_list import ModelList
from codex_gateway.ingress.recording import NoRecords, Recorder
from codex_gateway.ingress.server import Ingress
from codex_gateway.ingress.tokens import Tokens
from codex_gateway.metrics import Metrics
from codex_gateway.paths import GatewayPaths
from codex_gateway.record.recorder import RequestLog
from codex_gateway.record.responses import KeptResponses
from codex_gateway.route.learned import Fact, Learned
from codex_gateway.route.routes import Routes
from codex_gateway.route.tagging import Asked, tags_of
from codex_gateway.tagger.process import Tagger
from codex_gateway.upstream.call import Call
from codex_gateway.upstream.forward import Forwarder
from codex_gateway.upstream.health_checks import HealthChecks
from codex_gateway.upstream.pool import Pool
from codex_gateway.upstream.trail import Attempt
from codex_gateway.upstream.trial import Trial

_log = logging.getLogger(__name__)

MAX_OPEN_FILES = 65_536
WATCH_EVERY_S = 1.0
"""Between two looks at the configuration's and the tokens' files."""
GC_THRESHOLDS = (10_000, 20, 50)
"""Requests leave hardly any cycles behind. With Python's own (700, 10, 10) the collector takes a tenth of the time."""
_NO_FILE = (0, 0, 0)
CUT_GRACE_S = 2.0
"""For the error events of streams that the end of the drain cuts off."""
_HIDDEN = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "proxy-authorization")


def serve(
    paths: GatewayPaths,
    *,
    log_level: str | None = None,
    adapt: Callable[[Config], Config] = lambda config: config,
    beside: contextlib.AbstractAsyncContextManager[object] | None = None,
) -> int:
    """Run the gateway until it is told to end; return the exit code. `adapt` changes each configuration that is read
    (`--demo` adds its endpoint), `beside` lives as long as it does (the demo model itself).

    Raises `CodexError` where it cannot start: another one runs, the configuration is wrong, a directory is not ours.
    """
    import uvloop

    allow_many_files()
    config = adapt(load_config(paths.config_file))
    for directory in (paths.state_dir, paths.runtime_dir, paths.log_dir):
        make_private_dir(directory)
    lock = SupervisorLock(paths.lock_file, what="gateway", status="codex-gateway status")
    lock.acquire()
    try:
        # Where a gateway was killed its address is left, and its port may be somebody else's by now.
        paths.address_file.unlink(missing_ok=True)
        logs = start_logs(
            log_level or config.log.level,
            file=paths.log_dir / "gateway.log",
            file_limit_bytes=config.log.file_limit,
            files_kept=config.log.files_kept,
        )
        try:
            gateway = Gateway(paths, config, logs=logs, adapt=adapt, beside=beside)
            uvloop.run(gateway.run())
        finally:
            logs.close()
    finally:
        lock.release()
    return 0 if gateway.failure is None else 1


class Gateway:
    """One run of the gateway. `started` is set once it listens; `url` is then its address."""

    def __init__(
        self,
        paths: GatewayPaths,
        config: Config,
        *,
        logs: Logs | None = None,
        clock: Clock | None = None,
        records: bool = True,
        adapt: Callable[[Config], Config] = lambda config: config,
        beside: contextlib.AbstractAsyncContextManager[object] | None = None,
    ) -> None:
        self.paths = paths
        self.url = ""
        self.failure: BaseException | None = None
        self.metrics = Metrics()
        self.clock: Clock = clock or SystemClock()
        self.tokens = Tokens(paths.token_dir, self.clock)
        self.config_error = ""
        """What is wrong with the configuration file since the last good one."""
        self._config = config
        self._logs = logs
        self._with_records = records
        self._adapt = adapt
        self._beside = beside
        self._notifier = Notifier(self.clock)
        self._config_stamp = _stamp(paths.config_file)
        self._config_seen = self._config_stamp != _NO_FILE
        self._started_ns = self.clock.wall_ns()

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._config

    async def run(self, started: asyncio.Event | None = None, stop: asyncio.Event | None = None) -> None:
        """Start, serve and end. `started` is set when it listens, `stop` ends it, as SIGTERM does."""
        self._stop = stop or asyncio.Event()
        tasks = TaskSet(self._task_failed)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._notifier.close)
            self._handle_signals(stack)
            self.tokens.open()
            recorder = await self._open_records(stack)
            if self._beside is not None:
                await stack.enter_async_context(self._beside)
            self._build(recorder, stack)
            stack.push_async_callback(tasks.cancel)
            await self._listen(stack)
            tasks.start(self._watch_files(), "watch files")
            tasks.start(HealthChecks(self.forwarder, self.pool, self.clock).run(), "health checks")
            limit_s = watchdog_limit_s()
            if limit_s is not None:
                tasks.start(feed_watchdog(self._notifier, limit_s, self._answers), "watchdog")
            self._tasks = tasks
            _log.info("ready", extra={"pid": os.getpid(), "version": __version__, "url": self.url})
            self._notifier.ready(self._status_line())
            # What is there stays: the collector need not look through it for ever.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            if started is not None:
                started.set()
            await self._stop.wait()
            self._notifier.stopping("stopping")
            await self._drain()
        if self.failure is not None:
            _log.critical("stopped_by_failure", extra={"error": repr(self.failure)})

    # --- starting ---------------------------------------------------------------------------------------------------

    async def _open_records(self, stack: contextlib.AsyncExitStack) -> Recorder:
        self.records: RequestLog | None = None
        if not self._with_records:
            return NoRecords()
        config = self._config
        self.records = await RequestLog.open(
            self.paths.database, clock=self.clock, config=config.records, prices=config.prices
        )
        stack.push_async_callback(self.records.close)
        return self.records

    def _build(self, recorder: Recorder, stack: contextlib.AsyncExitStack) -> None:
        config = self._config
        facts = self.records.known_facts if self.records is not None else []
        self.routes = Routes(config, Learned(facts), random.random)
        self._forget_the_gone()
        self.pool = Pool(config.limits.stream_buffer // 2)
        stack.callback(self.pool.close)
        self.kept_responses = KeptResponses()
        self.limits = Limits(self.clock, config.clients, config.limits.concurrent)
        if self.records is not None:
            for name, tokens in self.records.used_today.items():
                self.limits.used(name, tokens)
        self._tagger = Tagger(config.tagging)
        stack.push_async_callback(self._tagger.close)

        last_errors = LastErrors(self.clock)

        def told(call: Call, attempt: Attempt) -> None:
            self.metrics.attempted(attempt)
            last_errors.ended(attempt)
            recorder.attempted(call.entry, attempt)

        self.forwarder = Forwarder(
            self.routes,
            self.pool,
            self.clock,
            random.random,
            told=told,
            on_learned=self._learned,
            capture_bytes=recorder.body_limit,
            responses=self.kept_responses.of,
        )
        models = ModelList(self.forwarder, self.pool, self.clock)
        self.ingress = Ingress(
            clock=self.clock,
            tokens=self.tokens,
            limits=self.limits,
            bounds=config.limits,
            forwarder=self.forwarder,
            recorder=recorder,
            metrics=self.metrics,
            tagger=self._tags if config.tagging.rules else None,
            models=models.answer,
            keep=self.kept_responses.keep,
            admin=Admin(
                clock=self.clock,
                routes=self.routes,
                trial=Trial(self.forwarder, self.pool, self.clock),
                errors=last_errors,
                under_way=self.records.under_way if self.records is not None else list,
                about=self._about,
                forgotten=self._forgotten,
            ).answer,
            count_tokens=lambda call: asyncio.to_thread(count_tokens, call.body, call.dialect),
        )
        self.metrics.before_page(self._set_gauges)

    async def _listen(self, stack: contextlib.AsyncExitStack) -> None:
        listen = self._config.listen
        server = Server(self.ingress)
        try:
            sockets = await asyncio.get_running_loop().create_server(server, listen.host, listen.port, backlog=1024)
        except OSError as error:
            raise BadConfig(
                f"the gateway cannot listen on {listen.host}:{listen.port}",
                why=error.strerror or str(error),
                next_step="set `listen.port` in config.yaml to another port, or stop what uses it",
            ) from error
        stack.push_async_callback(server.shutdown, CUT_GRACE_S)
        stack.callback(server.pre_shutdown)  # idle connections would be waited for
        stack.callback(sockets.close)
        self._sockets = sockets
        host = f"[{listen.host}]" if ":" in listen.host else listen.host
        self.url = f"http://{host}:{sockets.sockets[0].getsockname()[1]}"
        write_whole(self.paths.address_file, f"{self.url}\n", 0o600)
        stack.callback(self.paths.address_file.unlink, missing_ok=True)

    def _handle_signals(self, stack: contextlib.AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        handlers: dict[signal.Signals, Callable[[], object]] = {
            signal.SIGTERM: self._stop.set,
            signal.SIGINT: self._stop.set,
            signal.SIGHUP: self.reload,
        }
        for number, handler in handlers.items():
            try:
                loop.add_signal_handler(number, handler)
            except (ValueError, RuntimeError):
                return  # not in the main thread: whoever runs us there stops us by `stop`
            stack.callback(loop.remove_signal_handler, number)

    # --- while it runs ----------------------------------------------------------------------------------------------

    def _task_failed(self, error: BaseException) -> None:
        # Nothing goes on half dead: the service manager starts us again.
        self.failure = self.failure or error
        self._stop.set()

    def _learned(self, fact: Fact) -> None:
        if self.records is not None:
            self.records.learn(fact)

    def _forgotten(self, gone: Sequence[Fact]) -> None:
        if self.records is not None:
            self.records.forget(gone)

    def _forget_the_gone(self) -> None:
        """Forget what expired, and what belongs to endpoints that were removed while no gateway ran."""
        learned, wall_s = self.routes.learned, self.clock.wall_ns() / 1e9
        gone = learned.expire(wall_s)
        there = {endpoint.name for endpoint in self._config.endpoints}
        for name in {fact.endpoint for fact in learned.all(wall_s)} - there:
            gone += learned.forget(endpoint=name)
        self._forgotten(gone)

    def _about(self) -> AboutGateway:
        return AboutGateway(
            version=__version__,
            pid=os.getpid(),
            url=self.url,
            started_ns=self._started_ns,
            draining=self.ingress.draining,
            config_file=str(self.paths.config_file),
            config_error=self.config_error,
        )

    async def _answers(self) -> None:
        # The event loop has just run this; the records are the other thing that may hang.
        if self.records is not None:
            await self.records.ping()

    async def _tags(self, call: Call, request: web.BaseRequest, path: str) -> frozenset[str]:
        # Bytes that are no UTF-8 come as lone surrogates, which the tagger's process could not be told.
        headers = {name.lower(): value.encode(errors="replace").decode() for name, value in request.headers.items()}
        for name in _HIDDEN:
            headers.pop(name, None)
        asked = Asked(
            path=path, headers=headers, query=dict(request.rel_url.query), body=call.body, dialect=call.dialect
        )
        tagging = tags_of(asked, self._config.tagging)
        if not tagging.slow:
            return tagging.tags
        more, notes = await self._tagger.tags(tagging.slow, asked)
        for note in notes:
            _log.warning("tagging_rule_failed", extra={"why": note})
        return tagging.tags | more

    def _set_gauges(self) -> None:
        self.metrics.running_requests.set(self.limits.running)
        self.metrics.endpoint_up.clear()
        now, wall_s = self.clock.monotonic(), self.clock.wall_ns() / 1e9
        for status in self.routes.statuses(now, wall_s):
            self.metrics.endpoint_up.labels(status.endpoint.name).set(status.state in ("ready", "probing"))

    def _status_line(self) -> str:
        enabled = sum(endpoint.enabled for endpoint in self._config.endpoints)
        line = f"{self.url}, {enabled} endpoints"
        return f"{line}; the configuration file is not in force: {self.config_error}" if self.config_error else line

    async def _watch_files(self) -> None:
        said = ""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            self.pool.close_idle()
            why = ""
            try:
                self.tokens.reload()
            except CodexError as error:
                why = str(error)
                if why != said:
                    _log.warning("tokens_not_read", extra={"why": why})
            said = why
            if _stamp(self.paths.config_file) != self._config_stamp:
                self.reload()

    def reload(self) -> None:
        """Take the configuration file again. A wrong one changes nothing, and says so."""
        self._config_stamp = _stamp(self.paths.config_file)
        self._notifier.reloading("reading the configuration")
        try:
            read = self._read_config()
        except Exception as error:
            if not isinstance(error, CodexError):
                # A defect of ours in reading a file shall end no gateway that works.
                _log.exception("config_not_read")
            self.config_error = str(error) or type(error).__name__
            self.metrics.config_reloads.labels("refused").inc()
            _log.error("config_refused", extra={"why": str(error)})
            self._notifier.ready(self._status_line())
            return
        self._config_seen = self._config_stamp != _NO_FILE
        self.config_error = ""
        found = changes(self._config, read)
        self._apply(in_force(self._config, read))
        self.metrics.config_reloads.labels("applied").inc()
        for sentence in found.sentences():
            _log.info("config_applied", extra={"change": sentence})
        self._notifier.ready(self._status_line())

    def _read_config(self) -> Config:
        if self._config_stamp == _NO_FILE and self._config_seen:
            # Where it is only replaced, as some editors do it, no endpoint may lose what is known of it.
            raise BadConfig(f"{self.paths.config_file} is gone", next_step="put it back; what was in it holds on")
        return self._adapt(load_config(self.paths.config_file))

    def _apply(self, config: Config) -> None:
        tagging_changed = config.tagging != self._config.tagging
        self._config = config
        self._forgotten(self.routes.apply(config))
        self.forwarder.key_texts.clear()
        self.limits.change(config.clients, config.limits.concurrent)
        self.ingress.bounds = config.limits
        self.ingress.tagger = self._tags if config.tagging.rules else None
        self.pool.buffer_bytes = config.limits.stream_buffer // 2
        if tagging_changed:
            self._tasks.start(self._tagger.configure(config.tagging), "new tagging rules")
        if self.records is not None:
            self.records.change(config.records, config.prices)
            self.forwarder.capture_bytes = self.records.body_limit
        if self._logs is not None:
            self._logs.set_level(config.log.level)

    # --- ending -----------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        self.ingress.draining = True
        timeout_s = self._config.drain.timeout
        _log.info("draining", extra={"running": self.limits.running, "timeout_s": timeout_s})
        if not await self._wait_for_none(timeout_s):
            self.ingress.cut()
            for stream in list(self.forwarder.streams):
                stream.cut()
            await self._wait_for_none(CUT_GRACE_S)
        self._sockets.close()

    async def _wait_for_none(self, timeout_s: float) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        told = loop.time()
        while self.limits.running:
            if loop.time() >= deadline:
                return False
            if loop.time() - told > 1.0:
                self._notifier.needs_time(10.0, f"{self.limits.running} requests under way")
                told = loop.time()
            await asyncio.sleep(0.02)
        return True


def allow_many_files() -> None:
    """Raise the limit of open files as far as it may go: each stream takes two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft < most:
        with contextlib.suppress(ValueError, OSError):  # then it stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _stamp(path: Path) -> tuple[int, int, int]:
    """What changes when a file is replaced or written; `_NO_FILE` where it is gone."""
    try:
        status = path.stat()
    except OSError:
        return _NO_FILE
    return status.st_ino, status.st_mtime_ns, status.st_size
