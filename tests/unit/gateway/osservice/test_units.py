"""The text of the unit. How systemd reads it: tests/acceptance/gateway/test_service_systemd.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from codex_control.gateway_paths import GatewayPaths
from codex_control.service.own_file import Owner, owner_of
from codex_control.service.plan import RemoveFile, Run, WriteFile
from codex_control.service.program import Program
from codex_gateway.config.model import DrainConfig
from codex_gateway.osservice import units
from codex_gateway.osservice.program import find_program

PROGRAM = Program({"codex-gateway": ("/b/codex-gateway",)}, {"PATH": "/b:/bin"})
PATHS = GatewayPaths(Path("/c d/config.yaml"), Path("/s%x"), Path("/r"))


def values(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


@pytest.mark.parametrize("version", [252, 257])
def test_nothing_is_left_of_the_template(version: int) -> None:
    text = units.unit_text(PROGRAM, version, PATHS)
    assert "@" not in text.replace("@system-service", "")
    assert 'Environment="PATH=/b:/bin"' in text
    assert values(text, "ExecStart") == ['"/b/codex-gateway" serve']


def test_a_reload_is_waited_for_where_systemd_can() -> None:
    older, newer = units.unit_text(PROGRAM, 252), units.unit_text(PROGRAM, 253)
    assert values(older, "Type") == ["notify"]
    assert values(older, "ExecReload") == ["/bin/sh -c 'kill -HUP $$MAINPID'"]
    assert values(newer, "Type") == ["notify-reload"]
    assert values(newer, "ExecReload") == []


def test_a_stop_takes_longer_than_the_drain_does_by_default() -> None:
    (limit_s,) = values(units.unit_text(PROGRAM, 252), "TimeoutStopSec")
    assert int(limit_s) > DrainConfig().timeout + 2


def test_its_places_stay_writable_wherever_they_are() -> None:
    writable = values(units.unit_text(PROGRAM, 252, PATHS), "ReadWritePaths")
    assert writable == ["-%h -%t -/tmp -/var/tmp", '"-/s%%x"', '"-/r"', '"-/c d"']


def test_it_is_known_again_as_ours(tmp_path: Path) -> None:
    file = tmp_path / units.UNIT
    file.write_text(units.unit_text(PROGRAM, 252, PATHS))
    assert owner_of(file) is Owner.OURS
    file.write_text(file.read_text().replace("WatchdogSec=20", "WatchdogSec=0"))
    assert owner_of(file) is Owner.EDITED


def test_start_comes_last_and_only_when_asked_for() -> None:
    def commands(start: bool) -> list[str]:
        plan = units.install_plan(PROGRAM, PATHS, Path("/u"), 252, start=start)
        assert isinstance(plan.steps[0], WriteFile)
        assert plan.steps[0].path == Path("/u/codex-gateway.service")
        return [step.argv[2] for step in plan.steps if isinstance(step, Run)]

    assert commands(start=False) == ["daemon-reload", "enable", "reset-failed"]
    assert commands(start=True) == ["daemon-reload", "enable", "reset-failed", "start"]


def test_uninstalling_touches_no_other_unit() -> None:
    plan = units.uninstall_plan(Path("/u"))
    assert [step.path for step in plan.steps if isinstance(step, RemoveFile)] == [Path("/u/codex-gateway.service")]
    named = {word for step in plan.steps if isinstance(step, Run) for word in step.argv if word.endswith(".service")}
    assert named == {"codex-gateway.service"}


def test_places_are_kept_and_no_keys() -> None:
    environ = {"PATH": "/bin", "CODEX_GATEWAY_CONFIG": "/c", "OPENAI_API_KEY": "secret", "CODEX_HOME": "/h"}
    assert set(find_program("x", "/usr/bin/python3", environ).environment) == {"PATH", "CODEX_GATEWAY_CONFIG"}
