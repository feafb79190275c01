"""`codex-supervisor serve`: what the service manager starts."""

from __future__ import annotations

import asyncio
import os

import click
from codex_control.paths import Paths


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
def serve(log_level: str | None, demo: bool) -> int:
    """Run the supervisor in the foreground, until SIGTERM or Ctrl-C.

    SIGHUP reads the configuration again. It is ready when `codexctl health` says so; a service manager is told.
    """
    from codex_supervisor import daemon

    paths = Paths.from_environment()
    wants_demo = demo and _lacks_login(paths)
    if wants_demo:
        click.echo("Codex has no login (codex login): the demo model answers, and only shows that all works", err=True)
    return daemon.serve(paths, log_level=log_level, demo_model=wants_demo)


def _lacks_login(paths: Paths) -> bool:
    from codex_control.service.clock import SystemClock

    from codex_supervisor import doctor_codex
    from codex_supervisor.config_file import load_config
    from codex_supervisor.doctor import CHECK_TIMEOUT_S, CheckStatus, Surroundings, run_each

    config = load_config(paths.config_file)
    surroundings = Surroundings(paths=paths, config=config, environ=os.environ, clock=SystemClock())
    checks = [("login", doctor_codex.login)]
    (result,) = asyncio.run(run_each(checks, surroundings, timeout_s=CHECK_TIMEOUT_S))
    return result.status is CheckStatus.ERROR
