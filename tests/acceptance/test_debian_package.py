"""The Debian package: what is in it; and installed with dpkg, used, upgraded under a running turn, and removed.

dpkg works in a directory of the test (`--root`), which needs no capability but to be root, or a user namespace. So the
programs run from below that directory; all else is as on a person's machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from codex_control import __version__
from codex_control.errors import Exit

from tests.support.codex_home import REPOSITORY, CodexHome
from tests.support.distribution import TIMEOUT_S, WHEELS, dist, needed, run, wheel
from tests.support.missing import leave_out
from tests.support.model_script import Text
from tests.support.stub_model import StubModel
from tests.support.waiting import wait_for

__all__ = ["dist", "wheel"]

PYTHON = "/usr/bin/python3"
NEW_VERSION = "99.0.0"
# At the end of every new module of ours: none may be loaded by the old version, which runs on.
REFUSE_OTHERS = f"""
import codex_control
if codex_control.__version__ != "{NEW_VERSION}":
    raise ImportError("a file of version {NEW_VERSION}")
"""
DEPENDENCIES = ("python3", "libc6", "libgcc-s1", "libstdc++6")


@pytest.fixture(scope="module")
def package(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package."""
    needed("dpkg-deb")
    needed(WHEELS)
    out = tmp_path_factory.mktemp("deb")
    built = run(sys.executable, REPOSITORY / "packaging/debian/build_deb.py", wheel, "--wheels", WHEELS, "--out", out)
    return Path(built.strip())


@pytest.fixture(scope="module")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root directory that the package makes."""
    root = tmp_path_factory.mktemp("root")
    run("dpkg-deb", "--extract", package, root)
    return root


def test_debian_package_says_which_python_it_is_for(package: Path) -> None:
    minor = sys.version_info.minor
    assert run("dpkg-deb", "--field", package, "Package", "Version", "Depends").splitlines() == [
        "Package: codex-supervisor",
        f"Version: {__version__}",
        f"Depends: python3 (>= 3.{minor}), python3 (<< 3.{minor + 1}), libc6, libgcc-s1, libstdc++6",
    ]


def test_debian_package_belongs_to_root_and_only_root_may_write(package: Path) -> None:
    for line in run("dpkg-deb", "--contents", package).splitlines():
        mode, owner = line.split()[:2]
        assert owner == "root/root", line
        assert mode[5] == "-" and mode[8] == "-", line  # noqa: PT018 (group and others)


def test_debian_package_works_where_it_is_unpacked(unpacked: Path) -> None:
    for command in ("codex-supervisor", "codexctl", "codex-gateway"):
        launcher = unpacked / "usr/bin" / command
        assert launcher.read_text().startswith("#!/usr/bin/python3 -I\n")
        assert os.access(launcher, os.X_OK)
        assert run(sys.executable, "-I", launcher, "--version").endswith(f"{__version__}\n")
    assert "codex-supervisor" in run(sys.executable, "-I", unpacked / "usr/bin/codex-supervisor", "--help")
    # The gateway looks whether its own packages are there.
    assert "[Service]" in run(sys.executable, "-I", unpacked / "usr/bin/codex-gateway", "install", "--dry-run")


def test_debian_package_brings_every_command(unpacked: Path) -> None:
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    assert {file.name for file in (unpacked / "usr/bin").iterdir()} == set(scripts)


def test_debian_package_brings_the_user_units(unpacked: Path) -> None:
    unit = (unpacked / "usr/lib/systemd/user/codex-supervisor.service").read_text()
    assert 'ExecStart="/usr/bin/codex-supervisor" serve' in unit
    assert (unpacked / "usr/lib/systemd/user/codex-supervisor-sweep.service").exists()
    assert str(REPOSITORY) not in unit
    gateway = (unpacked / "usr/lib/systemd/user/codex-gateway.service").read_text()
    assert 'ExecStart="/usr/bin/codex-gateway" serve' in gateway
    assert str(REPOSITORY) not in gateway


def test_a_removal_stops_the_services_and_an_upgrade_does_not(package: Path, unpacked: Path, tmp_path: Path) -> None:
    run("dpkg-deb", "--control", package, tmp_path / "control")
    script = tmp_path / "control/prerm"
    # As if this machine had been started by systemd, with a stand-in that says what it is told.
    script.write_text(script.read_text().replace("/run/systemd/system", str(tmp_path)))
    invoke = tmp_path / "deb-systemd-invoke"
    invoke.write_text('#!/bin/sh\necho "$@"\n')
    invoke.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    action, *units = run("sh", script, "remove", PATH=path).removeprefix("--user ").split()
    assert action == "stop"
    assert {unit for unit in units if (unpacked / "usr/lib/systemd/user" / unit).exists()} == {
        "codex-supervisor.service",
        "codex-gateway.service",
    }
    assert run("sh", script, "upgrade", NEW_VERSION, PATH=path) == ""
    assert run("sh", script, "remove", PATH=path, DPKG_ROOT="/elsewhere") == ""


def test_debian_package_lists_the_checksums_of_all_files(package: Path, unpacked: Path) -> None:
    control = unpacked.parent / "control"
    run("dpkg-deb", "--control", package, control)
    listed = set((control / "md5sums").read_text().splitlines())
    found = {
        f"{hashlib.md5(file.read_bytes()).hexdigest()}  {file.relative_to(unpacked)}"
        for file in unpacked.rglob("*")
        if file.is_file()
    }
    assert listed == found


@pytest.fixture(scope="module")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of a version whose files fit no other."""
    folder = tmp_path_factory.mktemp("newer")
    root = folder / "root"
    run("dpkg-deb", "--raw-extract", package, root)
    control = root / "DEBIAN/control"
    control.write_text(control.read_text().replace(f"Version: {__version__}", f"Version: {NEW_VERSION}"))
    library = root / "usr/lib/codex-supervisor"
    ours = [library / name for name in ("codex_control", "codex_supervisor", "codexctl", "codex_gateway")]
    for file in (file for package in ours for file in package.rglob("*.py")):
        text = file.read_text().replace(f'__version__ = "{__version__}"', f'__version__ = "{NEW_VERSION}"')
        file.write_text(text + REFUSE_OTHERS)
    run(sys.executable, "-m", "compileall", "-qf", "--invalidation-mode", "unchecked-hash", *ours)
    made = folder / "newer.deb"
    run("dpkg-deb", "--root-owner-group", "-Znone", "--build", root, made)
    return made


class Root:
    """A directory with a dpkg database of its own, which knows what this machine has of what the package needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # The only user of a user namespace of its own is root, as dpkg wants it.
        self._as_root = () if os.geteuid() == 0 else ("unshare", "--map-root-user")
        database = folder / "var/lib/dpkg"
        for name in ("info", "updates"):
            (database / name).mkdir(parents=True)
        (database / "status").write_text(run("dpkg", "--status", *DEPENDENCIES))

    def dpkg(self, *arguments: str | Path) -> str:
        """Run dpkg; the package's scripts see that they are not on the machine itself."""
        return run(*self._as_root, "dpkg", f"--root={self.folder}", "--force-script-chrootless", *arguments)

    @property
    def files(self) -> set[Path]:
        """All that lies outside of dpkg's own database."""
        database = self.folder / "var/lib/dpkg"
        return set(self.folder.rglob("*")) - {*database.rglob("*"), database, *database.parents}


@pytest.fixture
def root(package: Path, tmp_path: Path) -> Root:
    """A root in which the package is installed."""
    for program in ("dpkg", PYTHON) if os.geteuid() == 0 else ("dpkg", PYTHON, "unshare"):
        needed(program)
    if os.geteuid() != 0 and subprocess.run(["unshare", "--map-root-user", "true"], capture_output=True).returncode:
        leave_out("neither root nor user namespaces here, and dpkg needs one of them")
    minor = run(PYTHON, "-c", "import sys; print(sys.version_info.minor)")
    if int(minor) != sys.version_info.minor:
        leave_out(f"the package is for Python 3.{sys.version_info.minor}, and {PYTHON} is 3.{minor}")
    made = Root(tmp_path / "root")
    made.dpkg("--install", package)
    return made


@dataclass
class Person:
    """Somebody who has the installed programs on the PATH. `environment` is all that is known of them."""

    root: Root
    environment: dict[str, str]
    workspace: Path

    async def begins(self, *command: str, **more: str) -> asyncio.subprocess.Process:
        """Begin a command."""
        path = os.pathsep.join([str(self.root.folder / "usr/bin"), self.environment["PATH"]])
        return await asyncio.create_subprocess_exec(
            shutil.which(command[0], path=path) or command[0],
            *command[1:],
            env=self.environment | {"PATH": path} | more,
            cwd=self.workspace,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def types(self, *command: str, **more: str) -> str:
        """Run a command that must not fail, and return what it printed."""
        code, out, err = await ended(await self.begins(*command, **more))
        assert code == 0, f"{command}: {out}{err}"
        return out

    async def service(self) -> Any:
        """What the service says of itself."""
        return json.loads(await self.types("codexctl", "version", "--json"))["service"]


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """The exit code of a command, and what it wrote."""
    out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def person(root: Root, codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path) -> AsyncIterator[Person]:
    """Somebody with Codex on the PATH, whose service ends with the test."""
    path = os.pathsep.join([str(real_codex.parent), "/usr/bin", "/bin"])
    config = codex_home.home / ".config/codex-supervisor/config.yaml"
    config.parent.mkdir(parents=True, mode=0o700)
    config.write_text("metrics: {port: 0}\n")
    made = Person(root, codex_home.environment(short_runtime_dir, PATH=path), codex_home.workspace)
    yield made
    # The package may be gone by now.
    await made.types(str(Path(sys.executable).parent / "codexctl"), "shutdown")


def test_what_dpkg_installed_is_whole_and_says_how_it_is_used(root: Root, tmp_path: Path) -> None:
    assert root.dpkg("--verify", "codex-supervisor") == ""
    programs = root.folder / "usr/bin"
    for name in ("codex-supervisor", "codexctl", "codex-gateway"):
        assert run(programs / name, "--version").endswith(f"{__version__}\n")
        assert f"Usage: {name} " in run(programs / name, "--help")
        completion = root.folder / "usr/share/bash-completion/completions" / name
        assert run("bash", "-c", f'. "$0"; complete -p {name}', completion).endswith(f" {name}\n")
    shown = run(programs / "codex-supervisor", "install", "--dry-run", HOME=str(tmp_path))
    assert f'ExecStart="{programs}/codex-supervisor" serve' in shown


def test_every_installed_module_can_be_imported(root: Root) -> None:
    # What other extras bring is not in the package.
    script = f"""
import importlib, pkgutil, sys
sys.path.insert(0, "{root.folder}/usr/lib/codex-supervisor")
import codex_control, codex_gateway, codex_supervisor, codexctl
EXTRAS = "codex_supervisor.task.postgresql_", "codexctl.claude.mcp_"
for package in (codex_control, codex_gateway, codex_supervisor, codexctl):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__") and not module.name.startswith(EXTRAS):
            importlib.import_module(module.name)
"""
    run(PYTHON, "-I", "-W", "error", "-c", script)


async def test_the_demo_models_answer(person: Person, codex_home: CodexHome) -> None:
    codex_home.config_file.unlink()
    answer = await person.types("codexctl", "ask", "hello", CODEX_SUPERVISOR_DEMO="1")
    assert "I am the demo model of codex-supervisor" in answer

    gateway = await person.begins("codex-gateway", "serve", "--demo", "--port", "0")

    async def listens() -> str:
        state = await person.begins("codex-gateway", "status", "--json")
        code, out, err = await ended(state)
        assert code == 0, err
        url: str = json.loads(out)["gateway"]["url"]
        return url

    try:
        url = await wait_for(listens, what="the gateway")
        token = (await person.types("codex-gateway", "tokens", "text", "claude-code")).strip()
        body = {"model": "demo", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
        request = urllib.request.Request(f"{url}/v1/messages", json.dumps(body).encode(), {"x-api-key": token})
        with await asyncio.to_thread(urllib.request.urlopen, request, timeout=TIMEOUT_S) as reply:
            assert "I am the demo model of codex-gateway" in reply.read().decode()
    finally:
        gateway.terminate()
        code, _, err = await ended(gateway)
    assert code == 0, err


async def test_an_upgrade_and_a_removal_while_turns_run(
    person: Person, newer: Path, stub_model: StubModel, codex_home: CodexHome
) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("first half, "), gate.step, Text("second half"), when="^long$")
    long_turn = await person.begins("codexctl", "ask", "-i", "main", "long")
    await gate.reached()
    assert "plugin  not installed" in await person.types("codexctl", "claude", "status")

    await asyncio.to_thread(person.root.dpkg, "--install", newer)
    before = await person.service()
    assert before["version"] == __version__, "an upgrade replaces no running program"
    # It starts another child, with what was loaded before.
    await person.types("codexctl", "ask", "-i", "other", "short")
    await person.types("codexctl", "reload", "--exec")
    after = await person.service()
    assert (after["version"], after["pid"]) == (NEW_VERSION, before["pid"])
    gate.release()
    code, out, err = await ended(long_turn)
    assert (code, out) == (0, "first half, second half\n"), err

    # Programs of ours that start Python anew find their modules: completion, and what follows an Esc in Claude Code.
    tab = {"_CODEXCTL_COMPLETE": "bash_complete", "COMP_WORDS": "codexctl status m", "COMP_CWORD": "2"}
    assert "plain,main" in await person.types("codexctl", **tab)
    gate = stub_model.gate()
    stub_model.script(Text("never to be finished"), gate.step, when="^stopped$")
    asking = await person.begins("codexctl", "ask", "-i", "other", "stopped")
    await gate.reached()
    (turn,) = [one["turn_id"] for one in await instances(person) if one["id"] == "other"]
    esc = f"import sys; sys.path.insert(0, {str(person.root.folder / 'usr/lib/codex-supervisor')!r}); "
    esc += f"from codexctl.claude import after_esc; after_esc.start({os.getpid()}, {turn!r})"
    await person.types(PYTHON, "-I", "-c", esc)
    assert (await ended(asking))[0] == Exit.CANCELLED
    gate.release()

    # Removed while it runs, it works on until it is told to end; nothing of the package stays, and all of the person's.
    await asyncio.to_thread(person.root.dpkg, "--remove", "codex-supervisor")
    assert person.root.files == set()
    codexctl = str(Path(sys.executable).parent / "codexctl")
    await person.types(codexctl, "ask", "-i", "third", "short")
    await asyncio.to_thread(person.root.dpkg, "--purge", "codex-supervisor")
    assert "short" in await person.types(codexctl, "history", "-i", "third")
    assert (codex_home.home / ".local/state/codex-supervisor/supervisor.db").exists()


async def instances(person: Person) -> Any:
    """All instances as `codexctl status` shows them."""
    return json.loads(await person.types("codexctl", "status", "--json"))["instances"]
