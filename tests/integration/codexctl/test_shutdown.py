"""The service is ended politely, whoever started it; nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from codexctl import ending
from codexctl.json_schema import VERBS, printed_schema

from tests.support.app_server import accepts
from tests.support.waiting import wait_for_sync

from .conftest import Ctl
from .fake_supervisor import FakeSupervisor

REPOSITORY = Path(__file__).parents[3]

SERVE = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.integration.codexctl.fake_supervisor import FakeSupervisor
# Waited for, not handled: a handler would not run where the signal comes a moment before the process begins to wait.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
fake = FakeSupervisor(Path(sys.argv[2]))
fake.version.running_turns = 1
fake.start()
while signal.sigwait([signal.SIGTERM]) and sys.argv[3] == "stubborn":
    pass
os._exit(0)
"""


@pytest.fixture
def service(ctl: Ctl, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A service in a process of its own; `stubborn` where it does not heed SIGTERM."""
    socket = Path(ctl.environment["CODEX_SUPERVISOR_RUNTIME_DIR"], "control.sock")
    kind = getattr(request, "param", "polite")
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(REPOSITORY), str(socket), kind])
    wait_for_sync(lambda: accepts(socket), 20, "the service")
    yield process
    process.kill()
    process.wait()


def test_it_waits_until_the_service_is_gone(ctl: Ctl, service: subprocess.Popen[bytes]) -> None:
    result = ctl("shutdown")
    assert result.code == 0, result.err
    assert result.out.splitlines() == [
        f"the service (pid {service.pid}) has ended",
        "1 turn was cut off: the next service carries on",
    ]
    assert service.poll() == 0
    again = ctl("shutdown")
    assert (again.code, again.out) == (0, "the service is not running\n")


def test_json(ctl: Ctl, service: subprocess.Popen[bytes]) -> None:
    schema = printed_schema() | {"$ref": f"#/$defs/{VERBS['shutdown']}"}
    for ended in (True, False):
        (value,) = ctl("shutdown", "--json").json_lines
        jsonschema.validate(value, schema)
        assert value["ended"] is ended


@pytest.mark.parametrize("service", ["stubborn"], indirect=True)
def test_one_that_does_not_end_is_told_of(ctl: Ctl, service: subprocess.Popen[bytes]) -> None:
    result = ctl("shutdown", "--timeout", "0.3s")
    assert (result.code, result.out) == (8, "")
    assert f"the service (pid {service.pid}) has not ended after 0.3 s" in result.err
    assert service.poll() is None


def test_children_that_run_on_are_told_of(ctl: Ctl, service: subprocess.Popen[bytes]) -> None:
    import socket

    children = Path(ctl.environment["CODEX_SUPERVISOR_RUNTIME_DIR"], "children")
    children.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as child, socket.socket(socket.AF_UNIX) as dead:
        child.bind(str(children / "one.sock"))
        child.listen()
        dead.bind(str(children / "two.sock"))
        assert ctl("shutdown").out.splitlines()[-1] == "1 child runs on: the next service adopts or ends them"


def test_systemd_ends_what_systemd_runs(
    ctl: Ctl, service: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real one is in tests/acceptance; here is which command is run."""
    programs = Path(ctl.environment["HOME"], "programs")
    programs.mkdir()
    told = programs / "told"
    (programs / "systemctl").write_text(f'#!/bin/sh\necho "$*" > {told}\nkill {service.pid}\n')
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    ctl.environment["PATH"] = os.environ["PATH"]
    monkeypatch.setattr(ending, "_is_unit", lambda pid: pid == service.pid)
    result = ctl("shutdown")
    assert result.code == 0, result.err
    assert result.out.startswith(f"the service (pid {service.pid}) has ended through systemd")
    assert told.read_text() == "--user stop codex-supervisor.service\n"


def test_the_pid_is_that_of_the_listener(ctl: Ctl, fake: FakeSupervisor) -> None:
    from codex_control.paths import Paths

    found = ending.find_listener(Paths.from_environment(ctl.environment), ctl.environment)
    assert found == ending.Listener(os.getpid(), "")
