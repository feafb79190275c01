"""What every verb gets: where the service is, how to reach it, and the options that all verbs share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
from codex_control.errors import CodexError
from codex_control.paths import Paths
from codex_control.telling import error_json

from codexctl.output import put, say

if TYPE_CHECKING:
    from codexctl.client import Client


@dataclass
class Session:
    """One run of one verb."""

    json: bool = False
    may_start: bool = True
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _clients: list[Client] = field(default_factory=list)

    @functools.cached_property
    def paths(self) -> Paths:
        """The places of the service."""
        return Paths.from_environment(self.environ)

    def client(self, *, start: bool) -> Client:
        """A client of the running service; where it does not run, it is started if `start` and the user allow it."""
        from codexctl.service import reachable

        reachable(self.paths, may_start=start and self.may_start, environ=self.environ, notice=say)
        from codexctl.client import Client

        client = Client(self.paths.control_socket)
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Close every client that was handed out."""
        while self._clients:
            self._clients.pop().close()


def unattended_session() -> Session:
    """The session of a verb that a program runs, and that takes no options of its own."""
    return Session(may_start=not os.environ.get("CODEXCTL_NO_START"))


def verb(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb `--json` and hand it its `Session` as the first argument. It never starts the service."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON; one line for each value.")
    @functools.wraps(function)
    def run(*args: Any, as_json: bool, no_start: bool = True, **options: Any) -> Any:
        session = Session(json=as_json, may_start=not no_start)
        try:
            return function(session, *args, **options)
        except CodexError as error:
            if as_json:
                put(error_json(error))
            raise
        finally:
            session.close()

    return run


def starting_verb(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a verb, as `verb` does, that starts the service where it does not run, unless `--no-start` forbids it."""
    return click.option(
        "--no-start", is_flag=True, envvar="CODEXCTL_NO_START", help="Do not start the service where it does not run."
    )(verb(function))


def instance_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb `-i/--instance`."""
    from codexctl.completing import complete_instance

    return click.option(
        "-i", "--instance", metavar="INSTANCE", shell_complete=complete_instance, help="Id of the instance, or a path."
    )(function)


def instance_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb an optional `INSTANCE`, which may also be given with `-i/--instance`."""
    from codexctl.completing import complete_instance

    @click.option(
        "-i",
        "--instance",
        "named_instance",
        metavar="INSTANCE",
        shell_complete=complete_instance,
        help="The same as INSTANCE.",
    )
    @click.argument("instance", required=False, shell_complete=complete_instance)
    @functools.wraps(function)
    def run(*args: Any, instance: str | None, named_instance: str | None, **options: Any) -> Any:
        if instance is not None and named_instance not in (None, instance):
            raise click.UsageError(f"two instances are named: {instance} and {named_instance}")
        return function(*args, instance=instance if instance is not None else named_instance, **options)

    return run


class DurationType(click.ParamType):  # type: ignore[type-arg] # generic only from click 8.4 on
    """A duration in seconds: `90`, `90s`, `1.5m`, `2h`, `7d`."""

    name = "time"  # shown as TIME
    _units: Mapping[str, float] = {"s": 1, "m": 60, "h": 3600, "d": 86400}  # a Mapping is not changed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, above 0."""
        if isinstance(value, float):
            return value
        text = str(value).strip()
        unit = self._units.get(text[-1:], 0)
        try:
            seconds = float(text[:-1] if unit else text) * (unit or 1)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < 1e9:
            self.fail(f"'{value}' is no duration above 0; write 90, 90s, 5m, 2h or 7d", param, ctx)
        return seconds


DURATION = DurationType()
