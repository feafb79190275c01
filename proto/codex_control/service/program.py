"""What a service is to run, and with what environment: found once, at install time.

A service manager starts a service with hardly any environment, so the PATH of the shell that installs is what programs
are found on; and the places that were chosen by environment variables stay chosen.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codex_control.errors import BadConfig

# What login shells have at the least (Debian's /etc/profile, macOS's /etc/paths).
_SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")


@dataclass(frozen=True)
class Program:
    """What a service runs: its commands by name, each an argument vector whose first word is an absolute path."""

    commands: Mapping[str, tuple[str, ...]]
    environment: Mapping[str, str]


def find_program(
    modules: Mapping[str, str],
    kept: Sequence[str],
    *,
    switches: Sequence[str] = (),
    argv0: str = sys.argv[0],
    python: str = sys.executable,
    environ: Mapping[str, str] = os.environ,
) -> Program:
    """Find the commands and the environment of a service.

    `modules` has the Python module behind each command's name; `kept` names the variables that say where things are,
    `switches` those that are on or off. Never secrets: unit files are open to all. The script that was started is kept
    as it was named, so that a link to the newest version stays one. Raises `BadConfig` where something holds a
    character that no service file can carry.
    """
    environment = {"PATH": _search_path(environ)}
    environment |= {name: environ[name] for name in kept if environ.get(name, "").startswith("/")}
    environment |= {name: "1" for name in switches if environ.get(name)}
    commands = {name: _command(name, module, modules, argv0, python) for name, module in modules.items()}
    for text in (*(word for command in commands.values() for word in command), *environment.values()):
        _check_plain(text)
    return Program(commands, environment)


def _command(name: str, module: str, modules: Mapping[str, str], argv0: str, python: str) -> tuple[str, ...]:
    # Not resolved: links on the way (pipx, Homebrew, /usr/bin) are what an upgrade moves.
    folders: Sequence[Path] = (Path(os.path.abspath(argv0)).parent, Path(python).parent)  # noqa: PTH100 # see above
    if Path(argv0).name not in modules:
        folders = folders[1:]
    for folder in folders:
        if os.access(folder / name, os.X_OK) and (folder / name).is_file():
            return (str(folder / name),)
    return (python, "-m", module)


def _search_path(environ: Mapping[str, str]) -> str:
    # Relative and empty entries would mean the service's working directory.
    folders = [folder for folder in environ.get("PATH", "").split(os.pathsep) if folder.startswith("/")]
    return os.pathsep.join(dict.fromkeys((*folders, *_SYSTEM_PATH)))


def _check_plain(text: str) -> None:
    if not text.isprintable():
        raise BadConfig(
            f"{text!r} cannot be written into a service file",
            why="it holds a control character",
            next_step="rename that directory, or take it off the PATH",
        )
