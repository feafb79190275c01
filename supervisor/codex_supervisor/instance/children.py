"""Bringing a child up, adopting a running one, and taking one down, with its record in the store at every step.

The order of commits makes a child findable whatever dies: its record, with its token, is committed before the spawn;
the record goes only when its whole tree is proven gone.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from codex_control.errors import ChildFailed, CodexError
from codex_control.paths import make_private_dir

from codex_supervisor.child.awake import AwakeChild
from codex_supervisor.child.cgroups import make_group, remove_group
from codex_supervisor.child.environment import DEFAULT_ALLOW, child_environment
from codex_supervisor.child.gateway import find_gateway
from codex_supervisor.child.identity import new_token
from codex_supervisor.child.notifications import Notification
from codex_supervisor.child.providers import provider_variables
from codex_supervisor.child.server_requests import ServerRequest
from codex_supervisor.child.spawn import ChildProcess, ChildSpec, adopt, pending_record, remove_socket, spawn
from codex_supervisor.child.tree import stop_tree, sweep
from codex_supervisor.config.children import Provider
from codex_supervisor.failpoints import reach
from codex_supervisor.house import House
from codex_supervisor.store.records import ChildRecord

_log = logging.getLogger(__name__)

# An adopted child listens already.
_ADOPT_TIMEOUT_S = 5.0

# Between two looks at a tree that would not go.
_STILL_THERE_S = 5.0

OnSpawned = Callable[[ChildProcess, ChildRecord], None]
OnNotification = Callable[[Notification], None]
OnRequest = Callable[[ServerRequest], None]


def stderr_log(house: House, instance: str) -> Path:
    """Return the file that holds the output of an instance's children."""
    return house.paths.log_dir / "children" / f"{instance}.log"


async def bring_up(
    house: House,
    *,
    instance: str,
    generation: int,
    on_spawned: OnSpawned,
    on_notification: OnNotification,
    on_request: OnRequest,
) -> AwakeChild:
    """Spawn a child, connect and initialise it.

    `on_spawned` hears of the process before anything else can fail. Raises `CodexUnusable` where no start can work,
    `ChildFailed` where this one did not.
    """
    binary = await house.binary()
    overrides, provider_secrets = _provider(house)
    # A short name: the socket's path must fit into 107 bytes, and says nothing that the record does not.
    token = new_token(house.paths.runtime_dir)
    socket = make_private_dir(house.paths.children_dir) / f"{secrets.token_hex(6)}.sock"
    log = stderr_log(house, instance)
    make_private_dir(log.parent)
    environment = child_environment(
        house.environment,
        allow=(*DEFAULT_ALLOW, *house.config.codex.environment_allow, *provider_variables(house.codex_home)),
        extra=provider_secrets,
        token=token,
        codex_home=house.codex_home,
    )
    spec = ChildSpec(
        instance=instance,
        generation=generation,
        token=token,
        binary=binary,
        socket=socket,
        environment=environment,
        overrides=(*overrides, *house.config.codex.overrides),
        stderr_log=log,
        cwd=house.codex_home,
        cgroup=make_group(house.cgroup, socket.stem) if house.cgroup is not None else None,
        demo_overrides=house.child_overrides,
    )
    started_ns = house.clock.wall_ns()
    try:
        await house.store.save_child(pending_record(spec, started_ns=started_ns))
        reach("child-recorded")
        process = await spawn(spec)
    except BaseException:
        # Nothing came of it. The start may be cancelled by now, and the record be written all the same.
        house.tasks.start(_forget_unborn(house, spec), f"forget {instance}")
        raise
    reach("child-spawned")
    record = process.record(started_ns=started_ns)
    on_spawned(process, record)
    # Written while Codex starts: the two take the same time, and neither waits for the other.
    saved = asyncio.gather(house.store.save_child(record))
    from codex_supervisor.child.appserver import AppServer

    try:
        server = await AppServer.connect(
            socket,
            exited=process.exited,
            deadline_s=house.config.instances.start_timeout,
            on_notification=on_notification,
            on_request=on_request,
        )
    except ChildFailed as error:
        tail = process.stderr_tail(3)
        if tail:
            raise ChildFailed(error.what, why="; ".join(tail), next_step=error.next_step) from error
        raise
    finally:
        await saved
    return AwakeChild(process, server, record)


def load_app_server() -> None:
    """Load the connection to children, with websockets and what they bring: 18 ms, which need not be on the way of the
    service's start.
    """
    import codex_supervisor.child.appserver  # noqa: F401


async def _forget_unborn(house: House, spec: ChildSpec) -> None:
    if spec.cgroup is not None:
        remove_group(spec.cgroup)
    await _forget(house, spec.instance, spec.token)


async def _forget(house: House, instance: str, token: str) -> None:
    try:
        await house.store.delete_child(token)
    except CodexError as error:
        # The record of a child that is gone does no harm: the next start finds it gone.
        _log.warning("child_record_left", extra={"instance": instance, "error": str(error)})


def _provider(house: House) -> tuple[tuple[str, ...], dict[str, str]]:
    """The settings that say where the child's model is, and the secrets for it. The demo model stands above all."""
    codex = house.config.codex
    if codex.provider is Provider.GATEWAY and not codex.demo_model:
        gateway = find_gateway(house.environment)
        return gateway.overrides, gateway.environment
    return house.child_overrides, house.child_secrets


async def adopt_child(
    house: House, record: ChildRecord, *, on_notification: OnNotification, on_request: OnRequest
) -> AwakeChild:
    """Take over the child that `record` names. Raises `ChildFailed` where it is not there, or does not answer."""
    process = adopt(record, stderr_log=stderr_log(house, record.instance))
    from codex_supervisor.child.appserver import AppServer

    try:
        server = await AppServer.connect(
            Path(record.socket),
            exited=process.exited,
            deadline_s=_ADOPT_TIMEOUT_S,
            on_notification=on_notification,
            on_request=on_request,
        )
    except BaseException:
        process.close()
        raise
    return AwakeChild(process, server, record, adopted=True)


async def take_down(
    house: House, record: ChildRecord, process: ChildProcess | None, thread_ids: Sequence[str], *, cut: bool
) -> None:
    """End a child and everything that it started, and forget its record; return when nothing is left.

    `cut` gives no time to end by itself: Codex would wait for its turn, or write into the conversation that the turn
    was aborted on purpose.
    """
    limits = house.config.instances
    started = house.clock.monotonic()
    while True:
        if process is not None:
            report = await stop_tree(
                process,
                thread_ids=thread_ids,
                term_timeout_s=0.0 if cut else limits.stop_timeout,
                kill_timeout_s=limits.kill_timeout,
                clock=house.clock,
            )
        else:
            report = await sweep(
                record.token,
                thread_ids,
                clock=house.clock,
                cgroup=Path(record.cgroup) if record.cgroup else None,
                term_timeout_s=0.0,
                kill_timeout_s=limits.kill_timeout,
            )
        if report.empty:
            break
        # A process in uninterruptible sleep outlives even KILL. The child is not gone before it is.
        _log.error("processes_left", extra={"instance": record.instance, "pids": list(report.survivors)})
        await asyncio.sleep(_STILL_THERE_S)
    remove_socket(Path(record.socket))
    if record.cgroup:
        remove_group(Path(record.cgroup))
    await _forget(house, record.instance, record.token)
    house.metrics.stop_seconds.observe(house.clock.monotonic() - started)


async def end_unknown(house: House, token: str) -> None:
    """End a child of ours that stands in no record: the store that knew it was lost.

    Let live, it could hold its conversation against every later child.
    """
    _log.warning("unknown_child", extra={"because": "the store does not know it"})
    record = ChildRecord(token=token, instance="", generation=0, socket="", boot_id="")
    await take_down(house, record, None, (), cut=True)
