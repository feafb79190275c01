"""`codex-supervisor` as a whole process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from codex_control import __version__
from codex_control.errors import Exit
from codex_control.service.lock import SupervisorLock
from codex_supervisor.config.reading import load_config
from codex_supervisor.config.reference import config_reference
from codex_supervisor.root import COMMANDS, HELP, cli

from tests.support.codex_home import CodexHome

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs one command line with a home of its own."""

    def run_command(
        *arguments: str, python: tuple[str, ...] = (), environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *python, "-m", "codex_supervisor", *arguments],
            env=environment or {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run_command


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / ".config" / "codex-supervisor" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.touch(mode=0o600)
    return path


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ()])
def test_help_and_version_load_neither_grpc_nor_msgspec(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments, python=("-X", "importtime"))
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "click" in loaded
    assert not loaded & {"grpc", "msgspec", "yaml", "prometheus_client"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(run: Run, shell: str) -> None:
    assert "_CODEX_SUPERVISOR_COMPLETE" in run("completion", shell).stdout


def test_the_version(run: Run) -> None:
    assert run("version").stdout == f"{__version__}\n"
    assert run("--version").stdout == f"codex-supervisor, version {__version__}\n"


def test_an_unknown_command_is_told_with_the_nearest(run: Run) -> None:
    done = run("servee")
    assert done.returncode == Exit.USAGE
    assert "did you mean 'serve'?" in done.stderr


def test_every_command_can_be_loaded_and_describes_itself() -> None:
    assert set(HELP) <= set(COMMANDS)
    for name in COMMANDS:
        command = cli.get_command(cli.make_context("codex-supervisor", ["version"]), name)
        assert command is not None
        assert command.help
        assert command.hidden is (name not in HELP)


def test_the_configuration_is_shown_and_reads_as_the_same(run: Run, config_file: Path, tmp_path: Path) -> None:
    config_file.write_text("turns: {timeout: 1h30m}\nprofiles: {mine: {effort: low}}\n")
    shown = run("config", "show")
    assert shown.returncode == 0
    assert "  timeout: 1h30m\n" in shown.stdout
    copy = tmp_path / "copy.yaml"
    copy.write_text(shown.stdout)
    copy.chmod(0o600)
    assert load_config(copy).turns == load_config(config_file).turns
    assert json.loads(run("config", "show", "--json").stdout)["turns"]["timeout"] == 5400


def test_a_right_configuration_and_none_at_all(run: Run, config_file: Path) -> None:
    assert run("config", "check").stdout == f"{config_file} is right\n"
    config_file.unlink()
    assert run("config", "check").stdout == f"{config_file} does not exist: the defaults hold\n"


@pytest.mark.parametrize("command", [("config", "check"), ("config", "show"), ("serve",)])
def test_a_wrong_configuration_is_told_in_one_sentence(run: Run, config_file: Path, command: tuple[str, ...]) -> None:
    config_file.write_text("turns: {timeoutt: 1}\n")
    done = run(*command)
    assert done.returncode == Exit.CONFIG
    assert done.stdout == ""
    assert done.stderr == (
        f"codex-supervisor: {config_file}, line 1, column 9: there is no key `turns.timeoutt`.\n"
        "  next: did you mean `turns.timeout`?\n"
    )


@pytest.mark.parametrize("command", [("serve",), ("config", "show", "--json")], ids=" ".join)
def test_several_mistakes_are_all_told_the_unknown_key_first(
    run: Run, config_file: Path, command: tuple[str, ...]
) -> None:
    config_file.write_text("turns:\n  queue_limit: -1\n  timeoutt: 1\n")
    done = run(*command)
    assert done.returncode == Exit.CONFIG
    title, first, second, step = done.stderr.splitlines()
    assert title == f"codex-supervisor: {config_file} has 2 mistakes:"
    assert first == "    line 3, column 3: there is no key `turns.timeoutt` (did you mean `turns.timeout`?)"
    assert second.startswith("    line 2, column 16: `turns.queue_limit` is ")
    assert step == "  next: correct them, and try again"
    if "--json" in command:
        assert json.loads(done.stdout)["error"]["why"].count("\n") == 1
    else:
        assert done.stdout == ""


def test_a_wrong_command_line_is_told_as_json_too(run: Run) -> None:
    done = run("doctor", "--json", "more")
    assert json.loads(done.stdout)["error"]["exit_code"] == done.returncode == Exit.USAGE
    assert done.stderr.splitlines()[1] == "  next: `codex-supervisor doctor --help` says how it is used"


def test_a_check_names_every_mistake_on_a_line_of_its_own(run: Run, config_file: Path) -> None:
    config_file.write_text("turns:\n  timeoutt: 1\n  queue_limit: -1\n")
    done = run("config", "check")
    assert (done.returncode, done.stdout) == (Exit.CONFIG, "")
    first, second, last, _ = done.stderr.splitlines()
    assert first.startswith(f"{config_file}, line 2, column 3: there is no key `turns.timeoutt`")
    assert second.startswith(f"{config_file}, line 3, column ")
    assert last == f"codex-supervisor: {config_file} has 2 mistakes."


def test_a_file_is_checked_by_its_name(run: Run, tmp_path: Path) -> None:
    done = run("config", "check", str(tmp_path / "none.yaml"))
    assert (done.returncode, done.stdout) == (Exit.USAGE, "")
    assert "does not exist" in done.stderr


def test_the_reference_is_printed(run: Run) -> None:
    assert run("config", "reference").stdout == config_reference()


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m codex_supervisor config reference | head -c 10"
    done = subprocess.run(
        ["sh", "-c", command],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == b""


def test_the_doctor_tells_of_a_wrong_configuration_and_goes_on(
    run: Run, real_codex: Path, codex_home: CodexHome
) -> None:
    path = codex_home.home / "config.yaml"
    path.write_text("turns: {timeoutt: 1}\n")
    path.chmod(0o600)
    done = run("doctor", "--json", environment=codex_home.environment(CODEX_SUPERVISOR_CONFIG=str(path)))
    results = {line["name"]: line for line in json.loads(done.stdout)}
    assert done.returncode == Exit.CONFIG
    assert results["config file"]["fix"] == "did you mean `turns.timeout`?"
    assert results["Codex"]["status"] == "ok"
    assert results["login"]["status"] == "ok"
    assert {"PATH", "CODEX_HOME", "sandbox", "disk", "clock"} <= set(results)


def test_without_a_service_manager_the_status_tells_what_is_and_what_is_not(run: Run, tmp_path: Path) -> None:
    places = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CODEX_SUPERVISOR_RUNTIME_DIR": str(tmp_path)}
    done = run("status", environment=places)
    assert done.returncode == Exit.UNAVAILABLE
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines()}
    assert (lines["running"], lines["manager"], lines["installed"]) == ("no", "none", "no")
    assert lines["why"]
    assert done.stderr == (
        "  next: `codexctl start` runs it in the background, `codex-supervisor serve` in the foreground\n"
    )
    lock = SupervisorLock(tmp_path / "supervisor.lock")
    lock.acquire()
    try:
        done = run("status", "--json", environment=places)
    finally:
        lock.release()
    shown = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (Exit.OK, "")
    assert (shown["running"], shown["pid"], shown["manager"]) == (True, os.getpid(), "none")


def test_the_doctors_lines_are_for_people(run: Run, config_file: Path) -> None:
    config_file.write_text("codex: {binary: /nonexistent}\n")
    lines = run("doctor").stdout.splitlines()
    assert any(line.split()[:2] == ["ok", "clock"] for line in lines)
    assert lines[-1].startswith("not looked at: whether the service runs")
