"""The doctor: every check of the surroundings, as the service sees them."""

from __future__ import annotations

from collections.abc import Mapping

from codex_control.paths import Paths
from codex_control.service.clock import SystemClock

from codex_supervisor.config.model import Config
from codex_supervisor.doctor import codex, system
from codex_supervisor.doctor.check import CHECK_TIMEOUT_S, Check, CheckResult, Surroundings, in_thread, run_each


async def examine(paths: Paths, config: Config, environ: Mapping[str, str]) -> list[CheckResult]:
    """Run every check, in the order in which a person would put things right. `config` is what is in force."""
    surroundings = Surroundings(paths=paths, config=config, environ=environ, clock=SystemClock())
    return await run_each(all_checks(), surroundings, timeout_s=CHECK_TIMEOUT_S)


def all_checks() -> list[tuple[str, Check]]:
    """Every check with its name."""
    return [
        ("config file", in_thread(system.config_file)),
        ("PATH", in_thread(system.search_path)),
        ("Codex", codex.binary),
        ("CODEX_HOME", in_thread(codex.home)),
        ("login", codex.login),
        ("gateway", in_thread(codex.gateway)),
        ("sandbox", codex.sandbox),
        ("control socket", in_thread(system.control_socket)),
        ("directories", in_thread(system.directories)),
        ("disk", in_thread(system.disk)),
        ("clock", in_thread(system.clock)),
        ("open files", in_thread(system.open_files)),
        ("lingering", system.lingering),
    ]
