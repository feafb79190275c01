"""`claude-codex [args…]`: Claude Code with its Codex attached.

It makes sure that the service runs, loads the plugin, and becomes Claude Code: every argument is passed on unchanged,
and the exit code is Claude Code's. It is on the way of every start, so it imports no grpc and no click.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import NoReturn

from codex_control.errors import CodexError
from codex_control.paths import Paths

from codexctl.claude.plugin import PLUGIN, ensure_plugin
from codexctl.output import put, say, say_error
from codexctl.service import is_running, start

# What a shell reports for a program that it does not find.
NOT_FOUND = 127
NOT_EXECUTABLE = 126
MEND_CLAUDE = (
    "install Claude Code anew (npm install -g @anthropic-ai/claude-code), or take that file away if it is none of it"
)
_HELP = ("-h", "--help")
# They need no service and no plugin, and whoever only looks starts nothing.
_ENDS_AT_ONCE = (*_HELP, "-v", "--version")
_ABOUT = """\
Usage: claude-codex [ARGUMENTS OF claude...]

Starts Claude Code with a Codex of its own: makes sure that the service codex-supervisor runs, loads the plugin with the
/codex commands, and passes every argument to claude. This text is shown only where there is no Claude Code."""


def main() -> NoReturn:
    """The console script."""
    environ, arguments = dict(os.environ), sys.argv[1:]
    first = arguments[0] if arguments else ""
    claude = find_claude(environ, sys.argv[0])
    if claude is None:
        if first in _HELP:
            put(_ABOUT)
        say("claude-codex: Claude Code is not on PATH: there is no program named claude.")
        say("  next: install it (npm install -g @anthropic-ai/claude-code), or put its directory on PATH")
        sys.exit(0 if first in _HELP else NOT_FOUND)
    options = []
    try:
        if first not in _ENDS_AT_ONCE:
            ensure_service(environ)
            options.append(f"--plugin-dir={ensure_plugin(environ) / PLUGIN}")
    except CodexError as error:
        # Whoever wants to work with Claude Code can do so, without Codex too.
        say_error(error)
        say("Claude Code starts without a running Codex service.")
    # Python ignores these two, and what is ignored stays so in the program that takes our place.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    sys.stderr.flush()
    try:
        os.execve(claude, [claude, *options, *arguments], environ)  # noqa: S606 # there is no shell, and none is wanted
    except OSError as error:
        if first in _HELP:
            put(_ABOUT)
        say(f"claude-codex: {claude} cannot be run: {error.strerror}.")
        say(f"  next: {MEND_CLAUDE}")
        sys.exit(NOT_EXECUTABLE)


def find_claude(environ: Mapping[str, str], argv0: str) -> str | None:
    """Path of the program `claude` on `PATH` that is not ourselves under another name; None where there is none."""
    ours = os.path.realpath(argv0)
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder or ".", "claude")  # noqa: PTH118 # pathlib would drop what the user wrote
        if os.access(path, os.X_OK) and os.path.isfile(path) and os.path.realpath(path) != ours:  # noqa: PTH113
            return path
    return None


def ensure_service(environ: Mapping[str, str]) -> None:
    """Return when the service runs; raises the `CodexError` of why it does not."""
    paths = Paths.from_environment(environ)
    if is_running(paths) or environ.get("CODEXCTL_NO_START"):
        return
    # In a process of its own: a service that we started ourselves would be Claude Code's child, and a zombie one day.
    starter = os.fork()
    if starter == 0:
        code = 1
        try:
            start(paths, environ, say)
            code = 0
        except CodexError as error:
            say_error(error)
        finally:
            os._exit(code)
    os.waitpid(starter, 0)


if __name__ == "__main__":
    main()
