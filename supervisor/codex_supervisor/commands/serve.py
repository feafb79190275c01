"""`codex-supervisor serve`: what the service manager starts."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import click
from codex_control.paths import Paths

if TYPE_CHECKING:
    from codex_supervisor.doctor.check import CheckResult


@click.command()
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="In place of log.level of the configuration.",
)
@click.option(
    "--demo",
    is_flag=True,
    envvar="CODEX_SUPERVISOR_DEMO",
    show_envvar=True,
    help="Answer with the built-in demo model where Codex has no login and no other provider.",
)
@click.option("--check", is_flag=True, hidden=True, help="Only see whether it could serve.")
def serve(log_level: str | None, demo: bool, check: bool) -> int:
    """Run the supervisor in the foreground, until SIGTERM or Ctrl-C.

    SIGHUP reads the configuration again. It is ready when `codexctl health` says so; a service manager is told.
    """
    from codex_supervisor import daemon

    paths = Paths.from_environment()
    if check:
        # What it needs is installed, or the import above had failed; that the configuration suits is all that is left.
        from codex_supervisor.config.serving import load_service_config

        load_service_config(paths.config_file, demo_model=False)
        return 0
    wants_demo, notice = _demo(paths, asked=demo)
    if notice:
        click.echo(notice, err=True)
    return daemon.serve(paths, log_level=log_level, demo_model=wants_demo, notice=notice)


def _demo(paths: Paths, *, asked: bool) -> tuple[bool, str]:
    """Return whether the demo model answers, and what is to be said about that."""
    from codex_supervisor.demo_mode import forget, is_remembered, remember
    from codex_supervisor.doctor.check import CheckStatus

    remembered = is_remembered(paths)
    if not asked and not remembered:
        return False, ""
    login = _login(paths)
    if login.status is CheckStatus.ERROR:
        remember(paths)
        return True, _demo_answers(paths)
    if not remembered or login.status is CheckStatus.WARNING:
        # A warning is of a check that could not look: the demo is not over.
        return remembered, ""
    forget(paths)
    return False, f"the demo is over, the real model answers from now on: {login.found}"


def _demo_answers(paths: Paths) -> str:
    from codex_supervisor.child.locate import codex_word
    from codex_supervisor.config.reading import load_config

    codex = codex_word(load_config(paths.config_file).codex.binary, os.environ)
    return (
        "the demo model answers, which only shows that all works: Codex has no login; "
        f"after `{codex} login`, `codexctl reload --exec` brings the real one"
    )


def _login(paths: Paths) -> CheckResult:
    from codex_control.service.clock import SystemClock

    from codex_supervisor.config.reading import load_config
    from codex_supervisor.doctor import codex as doctor_codex
    from codex_supervisor.doctor.check import CHECK_TIMEOUT_S, Surroundings, run_each

    config = load_config(paths.config_file)
    surroundings = Surroundings(paths=paths, config=config, environ=os.environ, clock=SystemClock())
    checks = [("login", doctor_codex.login)]
    (result,) = asyncio.run(run_each(checks, surroundings, timeout_s=CHECK_TIMEOUT_S))
    return result
