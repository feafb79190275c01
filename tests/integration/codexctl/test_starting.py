"""The service is started where it does not run: once, with a notice, and with the reason where that fails."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from codexctl import service

from tests.support.waiting import wait_for_sync

from .conftest import Ctl

REPOSITORY = Path(__file__).parents[3]

SERVE = """#!{python}
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {repository!r})
from tests.integration.codexctl.fake_supervisor import FakeSupervisor
home = Path(os.environ["HOME"])
with (home / "starts").open("a") as starts:
    starts.write(" ".join([*sys.argv[1:], os.getcwd(), str(os.getsid(0) == os.getpid())]) + "\\n")
(home / "environment").write_text("\\n".join(os.environ))
fake = FakeSupervisor(home / "run" / "control.sock")
fake.start()
signal.pause()
"""

FAIL = """#!/bin/sh
echo start >> "$HOME/starts"
echo "reading the configuration" >&2
echo "config.yaml line 3: no such key 'profil'" >&2
exit 9
"""


@pytest.fixture
def ctl(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ctl]:
    """Codexctl that may start the service, which is the program `codex-supervisor` in HOME."""
    del ctl.environment["CODEXCTL_NO_START"]
    program = Path(ctl.environment["HOME"], "codex-supervisor")
    monkeypatch.setattr(service, "supervisor_program", lambda environ: str(program))
    yield ctl
    while service.started:
        end()


def program(ctl: Ctl, text: str) -> None:
    """Install `text` as the service's program."""
    path = Path(ctl.environment["HOME"], "codex-supervisor")
    path.write_text(text.format(python=sys.executable, repository=str(REPOSITORY)) if text is SERVE else text)
    path.chmod(0o700)


def end() -> None:
    """Kill the service that was started last."""
    process = service.started.pop()
    process.kill()
    process.wait()


def starts(ctl: Ctl) -> list[str]:
    """One line for each time the program was started."""
    path = Path(ctl.environment["HOME"], "starts")
    return path.read_text().splitlines() if path.exists() else []


def test_ask_starts_it_in_a_session_of_its_own(ctl: Ctl) -> None:
    program(ctl, SERVE)
    ctl.environment |= {"CODEX_INSTANCE": "project", "CLAUDE_CODE_SESSION_ID": "s"}
    result = ctl("ask", "hi")
    assert (result.code, result.out) == (0, "Hello\n"), result.err
    assert result.err.splitlines()[0] == "the service is not running: starting it (codex-supervisor serve)"
    assert len(starts(ctl)) == 1
    assert starts(ctl)[0] == "serve / True"
    inherited = (Path(ctl.environment["HOME"]) / "environment").read_text().splitlines()
    assert "CODEX_INSTANCE" not in inherited
    assert "CLAUDE_CODE_SESSION_ID" not in inherited
    log = Path(ctl.environment["HOME"], "state", "log", "serve.log")
    assert log.stat().st_mode & 0o777 == 0o600
    assert "the service" not in ctl("ask", "hi").err
    assert len(starts(ctl)) == 1


def test_a_stale_socket_is_no_service(ctl: Ctl) -> None:
    program(ctl, SERVE)
    assert ctl("ask", "hi").code == 0
    end()
    assert Path(ctl.environment["HOME"], "run", "control.sock").exists()
    assert ctl("status").code == 3
    assert ctl("ask", "hi").code == 0


def test_a_service_that_does_not_come_up_says_why(ctl: Ctl) -> None:
    program(ctl, FAIL)
    result = ctl("ask", "hi")
    assert (result.code, result.out) == (3, "")
    assert "    reading the configuration\n    config.yaml line 3: no such key 'profil'\n" in result.err
    assert "next: `codex-supervisor serve` shows" in result.err
    assert starts(ctl) == ["start"]


def test_a_service_with_several_mistakes_in_its_configuration_tells_them_all(ctl: Ctl) -> None:
    mistakes = [f"line {number}: it is wrong" for number in range(9)]
    lines = ["noise", "codex-supervisor: config.yaml has 9 mistakes:", *mistakes, "next: correct them"]
    program(ctl, f"#!/bin/sh\nprintf '%s\\n' {shlex.join(lines)} >&2\nexit 9\n")
    told = ctl("ask", "hi").err.splitlines()[1:]
    assert told[0] == "codexctl: the service could not be started:"
    assert [line.strip() for line in told[1:-1]] == lines[1:]
    assert told[-1] == "  next: `codex-supervisor serve` shows in the foreground what is wrong"


def test_only_what_this_start_wrote_is_shown(ctl: Ctl) -> None:
    program(ctl, FAIL)
    ctl("ask", "hi")
    program(ctl, "#!/bin/sh\necho other >&2\nexit 1\n")
    err = ctl("ask", "hi").err
    assert "other" in err
    assert "config.yaml" not in err


def test_a_program_that_says_nothing(ctl: Ctl) -> None:
    program(ctl, "#!/bin/sh\nexit 7\n")
    assert "it ended with code 7" in ctl("ask", "hi").err


def test_a_program_that_never_answers_is_given_up(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    program(ctl, '#!/bin/sh\necho "serve $$" >> "$HOME/starts"\nexec sleep 60\n')
    monkeypatch.setattr(service.start, "__defaults__", (0.3,))
    result = ctl("ask", "hi")
    assert result.code == 3
    assert "after 0 s" in result.err
    wait_for_sync(lambda: starts(ctl))


def test_another_service_that_never_answers_is_named(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    program(ctl, "#!/bin/sh\necho 'codex-supervisor: another one runs: pid 4711.' >&2\nexit 10\n")
    monkeypatch.setattr(service.start, "__defaults__", (0.3,))
    assert "another one runs: pid 4711" in ctl("ask", "hi").err


@pytest.mark.parametrize("how", ["option", "variable"])
def test_the_user_may_forbid_it(ctl: Ctl, how: str) -> None:
    program(ctl, SERVE)
    if how == "variable":
        ctl.environment["CODEXCTL_NO_START"] = "1"
    result = ctl("ask", "hi", *(["--no-start"] if how == "option" else []))
    assert result.code == 3
    assert "the service is not running" in result.err
    assert starts(ctl) == []


@pytest.mark.parametrize("line", ["status", "health", "stop", "version", "doctor", "top", "logs", "drain"])
def test_verbs_that_only_look_do_not_start_it(ctl: Ctl, line: str) -> None:
    program(ctl, SERVE)
    ctl(line)
    assert starts(ctl) == []


def test_without_a_program_it_says_so(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    ctl.environment["PATH"] = "/nonexistent"
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    result = ctl("ask", "hi")
    assert result.code == 3
    assert "neither beside codexctl nor on PATH" in result.err
