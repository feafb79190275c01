"""The real Claude Code in a home of its own, with a stub for its model: printing (`-p`) and on a terminal (tmux)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from codexctl.claude.plugin import PLUGIN, ensure_plugin

from tests.support.codex_home import REPOSITORY, CodexHome
from tests.support.stub_claude_model import StubClaudeModel
from tests.support.waiting import wait_for

# A start takes one second on an idle machine, and tests share it.
PATIENCE_S = 45.0
_KEYS_S = 20.0


def claude_program() -> Path | None:
    """The program that `make test` installed: that of the platform's own package, which runs without node."""
    return next(
        iter(sorted((REPOSITORY / "build/claude/node_modules/@anthropic-ai").glob("claude-code-*/claude"))), None
    )


@dataclass(frozen=True)
class Printed:
    """What a `claude -p` left."""

    code: int
    out: str
    err: str

    def __contains__(self, text: str) -> bool:
        return text in self.out


@dataclass
class ClaudeCode:
    """Starts Claude Code. `environment` is all that it and its hooks get."""

    workspace: Path
    environment: dict[str, str]
    bin_dir: Path
    runtime_dir: Path
    screens: list[Screen] = field(default_factory=list)
    tmux_pid: int = 0

    @property
    def launcher(self) -> str:
        """`claude-codex`."""
        return str(self.bin_dir / "claude-codex")

    @property
    def codexctl(self) -> Path:
        """`codexctl`."""
        return self.bin_dir / "codexctl"

    @property
    def plugin(self) -> Path:
        """The plugin as `claude-codex` makes it."""
        return ensure_plugin(self.environment, self.launcher) / PLUGIN

    @property
    def config_dir(self) -> Path:
        """Where Claude Code has the settings of its user."""
        return Path(self.environment["HOME"], ".claude")

    def limit_hooks(self, limit: str) -> None:
        """Have the plugin's hooks wait no longer than this for an answer."""
        hooks = self.plugin / "hooks/hooks.json"
        hooks.write_text(hooks.read_text().replace('"570s"', f'"{limit}"'))

    def break_hooks(self) -> None:
        """Have the plugin's hooks name a program that is not there."""
        hooks = self.plugin / "hooks/hooks.json"
        hooks.write_text(hooks.read_text().replace(str(self.codexctl), "/nowhere/codexctl"))

    async def end_service(self) -> None:
        """End the service that a command has started, and wait for its end."""
        lock = self.runtime_dir / "codex-supervisor/supervisor.lock"
        pid = int(lock.read_text())
        os.kill(pid, signal.SIGTERM)
        await wait_for(lambda: not _runs(pid), PATIENCE_S, "the end of the service")

    async def start(self, *arguments: str, program: str = "", **environment: str) -> asyncio.subprocess.Process:
        """Start `claude-codex` (or `program`) with these arguments, its output in pipes."""
        found = shutil.which(program or self.launcher, path=self.environment["PATH"])
        assert found is not None, program
        return await asyncio.create_subprocess_exec(
            found,
            *arguments,
            env=self.environment | environment,
            cwd=self.workspace,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str, program: str = "", **environment: str) -> Printed:
        """Run it to its end."""
        return await self.ended(await self.start(*arguments, program=program, **environment))

    async def ended(self, process: asyncio.subprocess.Process) -> Printed:
        """What a started one has printed at its end."""
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert process.returncode is not None
        return Printed(process.returncode, out.decode(), err.decode())

    async def print(self, prompt: str, *options: str, program: str = "") -> Printed:
        """`claude-codex -p PROMPT`."""
        return await self.run(*options, "-p", prompt, program=program)

    async def open(self, *arguments: str, program: str = "") -> Screen:
        """Start it on a terminal and wait for its prompt."""
        screen = Screen(self.runtime_dir / "tmux", f"s{len(self.screens)}")
        self.screens.append(screen)
        command = shlex.join([program or self.launcher, *arguments])
        screen.tmux(
            "-f", "/dev/null", "new-session", "-d", "-s", screen.name, "-x", "150", "-y", "50", command, first=self
        )
        self.tmux_pid = int(screen.tmux("display-message", "-p", "#{pid}"))
        await screen.wait_for_text("❯")  # noqa: RUF001 # its prompt
        return screen


@dataclass
class Screen:
    """A terminal on which Claude Code runs."""

    socket: Path
    name: str

    def tmux(self, *arguments: str, first: ClaudeCode | None = None) -> str:
        """Run a tmux command; the first one starts the server with the environment of `first`."""
        environment = first.environment if first else {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        where = {"cwd": first.workspace} if first else {}
        done = subprocess.run(
            ["tmux", "-S", str(self.socket), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_KEYS_S,
            **where,  # type: ignore[call-overload] # one argument
        )
        assert done.returncode == 0, f"tmux {arguments}: {done.stderr}"
        text: str = done.stdout
        return text

    @property
    def pid(self) -> int:
        """The process on the terminal: `claude-codex` becomes Claude Code."""
        return int(self.tmux("display-message", "-p", "-t", self.name, "#{pane_pid}"))

    def text(self) -> str:
        """What is shown, with what was scrolled away; wrapped lines are joined."""
        return self.tmux("capture-pane", "-p", "-J", "-S", "-2000", "-t", self.name)

    async def wait_for_text(self, text: str, count: int = 1) -> str:
        """Wait until `text` is shown `count` times, and return all that is shown."""

        def shown() -> str:
            now = self.text()
            assert now.count(text) >= count, now
            return now

        return await wait_for(shown, PATIENCE_S, f"{text!r} on the screen")

    def press(self, *keys: str) -> None:
        """Press keys by their names in tmux: `Enter`, `Escape`."""
        self.tmux("send-keys", "-t", self.name, *keys)

    async def type(self, line: str) -> None:
        """Type a line, and press Enter once it is in the prompt."""
        self.tmux("send-keys", "-t", self.name, "-l", line)
        # A line that was sent at once with its Enter is taken for a paste, and waits.
        await self.wait_for_text(line.split("\n")[-1])
        await asyncio.sleep(0.3)
        self.press("Enter")


@asynccontextmanager
async def place_of_claude(
    home: CodexHome, runtime_dir: Path, program: Path, stub: StubClaudeModel, bin_dir: Path
) -> AsyncIterator[ClaudeCode]:
    """A home in which Claude Code asks nothing at its start; whatever ran on its terminals is ended afterwards."""
    programs = home.root / "programs"
    programs.mkdir()
    (programs / "claude").symlink_to(program)
    scratch = home.root / "tmp"
    scratch.mkdir(mode=0o700)
    (home.home / ".claude.json").write_text(
        json.dumps(
            {
                "hasCompletedOnboarding": True,
                "projects": {str(home.workspace): {"hasTrustDialogAccepted": True}},
            }
        )
    )
    environment = home.environment(
        runtime_dir,
        TERM="xterm-256color",
        PATH=f"{programs}:{bin_dir}:{os.environ['PATH']}",
        TMPDIR=str(scratch),
        CLAUDE_CODE_TMPDIR=str(scratch),
        **stub.environment,
    )
    made = ClaudeCode(home.workspace, environment, bin_dir, runtime_dir)
    try:
        yield made
    finally:
        if made.tmux_pid and _runs(made.tmux_pid):  # it ends by itself with its last terminal
            os.kill(made.tmux_pid, signal.SIGTERM)
            await wait_for(lambda: not _runs(made.tmux_pid), PATIENCE_S, "the end of tmux")
        await wait_for(lambda: not list(_of_place(home.root)), PATIENCE_S, "the end of all Claude Codes")


def _runs(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def _of_place(root: Path) -> Iterator[int]:
    """Processes of Claude Code whose home is below `root`; they are told to end, as a closed terminal would."""
    for entry in Path("/proc").glob("[0-9]*"):  # none where there is no /proc
        try:
            if (
                f"HOME={root}/".encode() in (entry / "environ").read_bytes()
                and b"claude" in (entry / "comm").read_bytes()
            ):
                os.kill(int(entry.name), signal.SIGHUP)
                yield int(entry.name)
        except OSError:
            continue
