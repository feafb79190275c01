"""The doctor's checks of files, machine and settings, and how checks that go wrong are told."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from codex_control.errors import BadConfig, CodexError
from codex_control.paths import Paths
from codex_gateway.setup import clients
from codex_supervisor.config.children import CodexConfig, Provider
from codex_supervisor.config.model import Config
from codex_supervisor.config.reading import parse_config
from codex_supervisor.doctor import codex as doctor_codex
from codex_supervisor.doctor import system as doctor_system
from codex_supervisor.doctor.check import CheckResult, CheckStatus, Surroundings, ok, run_each, run_program

YEAR_2027_NS = 1_800_000_000 * 10**9


class StoppedClock:
    def __init__(self, wall_ns: int = YEAR_2027_NS) -> None:
        self._wall_ns = wall_ns

    def monotonic(self) -> float:
        return 0.0

    def wall_ns(self) -> int:
        return self._wall_ns


@pytest.fixture
def surroundings(tmp_path: Path) -> Surroundings:
    codex_home = tmp_path / "codex"
    codex_home.mkdir(mode=0o700)
    return Surroundings(
        paths=Paths(tmp_path / "config.yaml", tmp_path / "state", tmp_path / "run"),
        config=Config(),
        environ={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CODEX_HOME": str(codex_home)},
        clock=StoppedClock(),
    )


def changed(surroundings: Surroundings, **changes: object) -> Surroundings:
    return Surroundings(**{**vars(surroundings), **changes})


async def told(check: Callable[[Surroundings], object], surroundings: Surroundings) -> CheckResult:
    """The result as a person sees it, errors included."""

    async def run(given: Surroundings) -> CheckResult:
        result = check(given)
        return await result if asyncio.iscoroutine(result) else result  # type: ignore[return-value]

    (result,) = await run_each([("name", run)], surroundings, timeout_s=10)
    return result


# A check that goes wrong is a result too


async def test_a_check_that_fails_or_hangs_is_an_error_and_the_others_go_on(surroundings: Surroundings) -> None:
    async def hangs(_: Surroundings) -> CheckResult:
        await asyncio.Event().wait()
        raise AssertionError

    async def fails(_: Surroundings) -> CheckResult:
        raise RuntimeError("sk-abcdefghijklmnop")

    async def refuses(_: Surroundings) -> CheckResult:
        raise CodexError("it is wrong", why="because", next_step="put it right")

    async def works(_: Surroundings) -> CheckResult:
        return ok("works", "fine")

    checks = [("hangs", hangs), ("fails", fails), ("refuses", refuses), ("works", works)]
    results = await run_each(checks, surroundings, timeout_s=0.05)
    assert results == [
        CheckResult("hangs", CheckStatus.ERROR, "no answer within 0.05 s", results[0].fix),
        CheckResult("fails", CheckStatus.ERROR, "the check itself failed: RuntimeError('[redacted]')", "report it"),
        CheckResult("refuses", CheckStatus.ERROR, "it is wrong: because", "put it right"),
        CheckResult("works", CheckStatus.OK, "fine"),
    ]


async def test_a_program_that_takes_too_long_is_ended_with_all_that_it_started() -> None:
    with pytest.raises(TimeoutError):
        await run_program(["sh", "-c", "sleep 600 & wait"], {"PATH": os.environ["PATH"]}, timeout_s=0.05)


async def test_of_much_output_the_beginning_is_kept() -> None:
    code, output = await run_program(
        ["head", "-c", "10000000", "/dev/zero"], {"PATH": os.environ["PATH"]}, timeout_s=10
    )
    assert (code, len(output)) == (0, 16 * 1024)


# The machine


async def test_the_configuration_file(surroundings: Surroundings) -> None:
    path = surroundings.paths.config_file
    assert (await told(doctor_system.config_file, surroundings)).status is CheckStatus.OK
    path.write_text("log: {level: debug}")
    path.chmod(0o600)
    assert (await told(doctor_system.config_file, surroundings)).fix == "codexctl reload"
    in_force = changed(surroundings, config=parse_config("log: {level: debug}", ""))
    assert (await told(doctor_system.config_file, in_force)).status is CheckStatus.OK
    path.write_text("log: {levle: debug, level: x}")
    several = (await told(doctor_system.config_file, surroundings)).found.splitlines()
    assert [line[:6] for line in several[1:]] == ["line 1"] * 2
    assert several[0].endswith("has 2 mistakes:")
    path.write_text("log: {levle: debug}")
    broken = await told(doctor_system.config_file, surroundings)
    assert (broken.status, broken.fix) == (CheckStatus.ERROR, "did you mean `log.level`?")


async def test_the_search_path(surroundings: Surroundings, tmp_path: Path) -> None:
    async def with_path(value: str) -> CheckResult:
        return await told(doctor_system.search_path, changed(surroundings, environ={"PATH": value}))

    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "git"):
        (programs / name).touch(mode=0o755)
    assert (await with_path(str(programs))).status is CheckStatus.OK
    assert (await with_path("")).status is CheckStatus.ERROR
    assert "relative" in (await with_path(f"bin:{programs}")).found
    assert "an empty one" in (await with_path(f"{programs}:")).found
    (programs / "git").unlink()
    assert (await with_path(str(programs))).found == "git not found on it"
    programs.chmod(0o777)
    assert "other users may put programs" in (await with_path(str(programs))).found


async def test_the_control_socket(surroundings: Surroundings, tmp_path: Path) -> None:
    run_dir = surroundings.paths.runtime_dir
    if len(os.fsencode(run_dir)) > 80:
        surroundings = changed(surroundings, paths=Paths(tmp_path / "c", tmp_path / "s", Path("/nowhere/run")))
    assert (await told(doctor_system.control_socket, surroundings)).status is CheckStatus.OK
    deep = Paths(tmp_path / "c", tmp_path / "s", tmp_path / ("d" * 100))
    assert "too long" in (await told(doctor_system.control_socket, changed(surroundings, paths=deep))).found


async def test_directories_that_others_may_enter_are_told(surroundings: Surroundings) -> None:
    assert (await told(doctor_system.directories, surroundings)).status is CheckStatus.OK
    surroundings.paths.state_dir.mkdir(mode=0o755)
    result = await told(doctor_system.directories, surroundings)
    assert (result.status, result.fix) == (CheckStatus.ERROR, f"run `chmod 700 {surroundings.paths.state_dir}`")


@pytest.mark.parametrize(
    ("free", "status"),
    [(1, CheckStatus.ERROR), (500 * 2**20, CheckStatus.WARNING), (5 * 2**30, CheckStatus.OK)],
)
async def test_the_disk(
    surroundings: Surroundings, monkeypatch: pytest.MonkeyPatch, free: int, status: CheckStatus
) -> None:
    # A disk of a wanted fullness cannot be made without root.
    real = os.statvfs(surroundings.paths.config_file.parent)
    fields = [real.f_bsize, 1, *list(real)[2:4], free, *list(real)[5:]]
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))
    assert (await told(doctor_system.disk, surroundings)).status is status


@pytest.mark.parametrize(
    ("wall_ns", "status"),
    [(0, CheckStatus.ERROR), (YEAR_2027_NS, CheckStatus.OK), (5_000_000_000 * 10**9, CheckStatus.ERROR)],
)
async def test_the_clock(surroundings: Surroundings, wall_ns: int, status: CheckStatus) -> None:
    result = await told(doctor_system.clock, changed(surroundings, clock=StoppedClock(wall_ns)))
    assert result.status is status


async def test_a_clock_behind_the_store_is_told(surroundings: Surroundings) -> None:
    surroundings.paths.state_dir.mkdir(mode=0o700)
    surroundings.paths.database.touch()
    os.utime(surroundings.paths.database, ns=(YEAR_2027_NS + 10**12, YEAR_2027_NS + 10**12))
    assert (await told(doctor_system.clock, surroundings)).status is CheckStatus.WARNING


async def test_too_few_open_files_are_told(surroundings: Surroundings) -> None:
    many = parse_config("instances: {max_awake: 1000}", "")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, limit[1]))
    try:
        result = await told(doctor_system.open_files, changed(surroundings, config=many))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert (result.status, result.found) == (CheckStatus.WARNING, "at most 1000")
    assert "8000" in result.fix


async def test_lingering_says_something_everywhere(surroundings: Surroundings) -> None:
    assert (await told(doctor_system.lingering, surroundings)).status is not CheckStatus.ERROR


# Codex's own directory and provider


async def test_codex_home(surroundings: Surroundings) -> None:
    path = Path(surroundings.environ["CODEX_HOME"])
    assert (await told(doctor_codex.home, surroundings)).status is CheckStatus.OK
    path.chmod(0o755)
    assert (await told(doctor_codex.home, surroundings)).fix == f"chmod 700 {path}"
    path.chmod(0o777)
    assert (await told(doctor_codex.home, surroundings)).status is CheckStatus.ERROR
    path.chmod(0o700)
    (path / "auth.json").touch()
    (path / "auth.json").chmod(0o644)
    assert (await told(doctor_codex.home, surroundings)).fix == f"chmod 600 {path / 'auth.json'}"


async def test_a_codex_home_that_is_missing_or_no_directory(surroundings: Surroundings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, status in (("none", CheckStatus.ERROR), ("file", CheckStatus.ERROR)):
        environ = {"CODEX_HOME": str(tmp_path / name)}
        assert (await told(doctor_codex.home, changed(surroundings, environ=environ))).status is status
    default = changed(surroundings, environ={"HOME": str(tmp_path)})
    assert (await told(doctor_codex.home, default)).fix.endswith("codex login`, which makes it")
    assert (await told(doctor_codex.home, changed(surroundings, environ={}))).status is CheckStatus.ERROR


def provider_config(surroundings: Surroundings, text: str) -> None:
    Path(surroundings.environ["CODEX_HOME"], "config.toml").write_text(text)


PROVIDER = 'model_provider = "mine"\n[model_providers.mine]\nenv_key = "MINE_KEY"\n'


async def test_a_provider_wants_its_variable(surroundings: Surroundings) -> None:
    provider_config(surroundings, PROVIDER)
    result = await told(doctor_codex.login, surroundings)
    assert result.status is CheckStatus.ERROR
    assert "wants the variable MINE_KEY" in result.found
    with_key = changed(surroundings, environ={**surroundings.environ, "MINE_KEY": "very secret"})
    result = await told(doctor_codex.login, with_key)
    assert result.status is CheckStatus.OK
    assert "very secret" not in result.found


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('model_provider = "ollama"', CheckStatus.OK),
        ('model_provider = "mine"', CheckStatus.WARNING),
        ('model_provider = "mine"\n[model_providers.mine]\n', CheckStatus.OK),
        ("model_provider = [", CheckStatus.ERROR),
    ],
)
async def test_other_providers(surroundings: Surroundings, text: str, status: CheckStatus) -> None:
    provider_config(surroundings, text)
    assert (await told(doctor_codex.login, surroundings)).status is status


async def test_a_broken_settings_file_is_told_with_its_line(surroundings: Surroundings) -> None:
    provider_config(surroundings, "a = 1\nb = = 2\n")
    with pytest.raises(BadConfig, match=r"config.toml is broken: .*line 2"):
        doctor_codex.codex_settings(surroundings)


async def test_overrides_stand_above_the_settings_file(surroundings: Surroundings) -> None:
    provider_config(surroundings, PROVIDER)
    codex = CodexConfig(overrides=("model_provider=ollama", 'model="x"', "n = 3"))
    given = changed(surroundings, config=msgspec.structs.replace(surroundings.config, codex=codex))
    settings = doctor_codex.codex_settings(given)
    assert settings["model_provider"] == "ollama"
    assert settings["model"] == "x"
    assert (await told(doctor_codex.login, given)).status is CheckStatus.OK


async def test_the_demo_model_needs_no_login(surroundings: Surroundings) -> None:
    given = changed(surroundings, config=parse_config("codex: {demo_model: true}", ""))
    assert (await told(doctor_codex.login, given)).status is CheckStatus.OK


async def test_without_a_sandbox_nothing_is_tried(surroundings: Surroundings) -> None:
    profiles = ", ".join(f"{name}: {{sandbox: danger-full-access}}" for name in ("high", "default", "low"))
    config = parse_config(f"profiles: {{{profiles}}}", "")
    result = await told(doctor_codex.sandbox, changed(surroundings, config=config))
    assert (result.status, "danger-full-access" in result.found) == (CheckStatus.WARNING, True)


async def test_a_missing_codex_is_told_with_the_fix(surroundings: Surroundings) -> None:
    given = changed(surroundings, config=parse_config("codex: {binary: /nonexistent/codex}", ""))
    result = await told(doctor_codex.binary, given)
    assert result.status is CheckStatus.ERROR
    assert "codex.binary" in result.fix


@pytest.mark.skipif(sys.platform != "linux", reason="the words are bubblewrap's")
@pytest.mark.parametrize(
    ("output", "fix"),
    [
        ("bubblewrap is unavailable: no system bwrap was found on PATH", "install bubblewrap"),
        ("bwrap: setting up uid map: Permission denied", "namespaces"),
        (
            "bwrap: Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded",
            "namespaces",
        ),
        ("Error: /x/config.toml:1:10: unclosed array", "correct that file"),
        ("something else", "codex sandbox"),
    ],
)
def test_a_sandbox_that_fails_has_a_fix(output: str, fix: str) -> None:
    assert fix in doctor_codex._sandbox_fix(output.lower())


@pytest.mark.parametrize(
    ("setting", "value", "in_container", "fix"),
    [
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            True,
            "`sudo apt install bubblewrap apparmor-profiles &&",
        ),
        ("kernel/unprivileged_userns_clone", "0", False, "`sudo sysctl -w kernel.unprivileged_userns_clone=1`"),
        ("user/max_user_namespaces", "0", False, "`sudo sysctl -w user.max_user_namespaces=10000`"),
        ("user/max_user_namespaces", "5", True, "`--security-opt seccomp=unconfined --security-opt apparmor="),
        ("user/max_user_namespaces", "5", False, "`unshare --user true` has to work"),
    ],
)
def test_each_thing_that_forbids_namespaces_has_its_own_command(
    tmp_path: Path, setting: str, value: str, in_container: bool, fix: str
) -> None:
    (tmp_path / setting).parent.mkdir()
    (tmp_path / setting).write_text(f"{value}\n")
    assert fix in doctor_codex._namespace_fix(tmp_path, in_container=in_container)


# The gateway


async def test_a_gateway_that_nobody_wants_is_not_looked_for(surroundings: Surroundings) -> None:
    assert (await told(doctor_codex.gateway, surroundings)).status is CheckStatus.OK


async def test_a_gateway_that_codex_itself_was_led_to_is_not_called_unused(surroundings: Surroundings) -> None:
    provider_config(surroundings, f'model_provider = "{clients.PROVIDER}"\n')
    found = await told(doctor_codex.gateway, surroundings)
    assert found.status is CheckStatus.OK
    assert "Codex's own settings lead to it" in found.found
    # The demo model stands above Codex's own settings.
    demo = changed(surroundings, config=Config(codex=CodexConfig(demo_model=True)))
    assert (await told(doctor_codex.gateway, demo)).found.startswith("not used")


async def test_a_gateway_that_is_wanted_and_does_not_run_is_an_error(surroundings: Surroundings) -> None:
    wanting = changed(surroundings, config=Config(codex=CodexConfig(provider=Provider.GATEWAY)))
    found = await told(doctor_codex.gateway, wanting)
    assert found.status is CheckStatus.ERROR
    assert "codex-gateway serve" in found.fix
    assert "codex-gateway install --now" in found.fix
    # Codex itself needs no login then.
    assert (await told(doctor_codex.login, wanting)).status is CheckStatus.OK


async def test_a_gateway_behind_the_demo_model_is_a_warning(surroundings: Surroundings) -> None:
    both = Config(codex=CodexConfig(provider=Provider.GATEWAY, demo_model=True))
    assert (await told(doctor_codex.gateway, changed(surroundings, config=both))).status is CheckStatus.WARNING
