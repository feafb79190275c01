"""Completion of what the service knows, without grpc in the completing process and only where the service runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from codexctl.setting_names import SETTINGS

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# A person waits with the finger on the Tab key.
_LIMIT_S = 1.0


def complete_instance(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 # click's signature
    """Ids that begin with what was typed; none where the service does not run or takes too long."""
    return _items(lambda: _asked("status")[0]["instances"], incomplete)


def complete_task(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 # click's signature
    """Ids of the newest tasks that begin with what was typed."""
    return _items(lambda: _asked("task", "list", "-n", "500"), incomplete)


def complete_directory(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 # click's signature
    """Have the shell complete a directory."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


def complete_file(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 # click's signature
    """Have the shell complete a file."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def complete_turn(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 # click's signature
    """Ids of the newest turns that begin with what was typed."""
    return _items(lambda: _asked("turns", "--all", "-n", "100"), incomplete)


def complete_profile(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 # click's signature
    """Profiles that begin with what was typed."""
    return _items(lambda: _asked("profiles")[0], incomplete, name="name", about="effort")


def complete_setting(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 # click's signature
    """Settings of an instance that begin with what was typed."""
    return [name for name in SETTINGS if name.startswith(incomplete)]


def task_argument(*states: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a verb a `TASK`; completed are those in `states`, all where none is named."""
    wanted = [word for state in states for word in ("--state", state)]

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 # click's signature
        return _items(lambda: _asked("task", "list", "-n", "500", *wanted), incomplete)

    return click.argument("task", shell_complete=complete)


def tasks_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb one or several `TASKS`."""
    return click.argument("tasks", nargs=-1, required=True, shell_complete=complete_task)(function)


def _items(
    known: Callable[[], list[Any]], incomplete: str, *, name: str = "id", about: str = "state"
) -> list[CompletionItem]:
    import subprocess

    from click.shell_completion import CompletionItem

    try:
        return [CompletionItem(one[name], help=one[about] or "") for one in known() if one[name].startswith(incomplete)]
    except (subprocess.SubprocessError, OSError, ValueError, LookupError, TypeError):
        return []


def _asked(*arguments: str) -> list[Any]:
    """What a verb prints with `--json`, a value for each line."""
    import json
    import os
    import subprocess

    from codex_control.own_python import own_python, own_python_environment

    # With click's variable it would complete in its turn.
    environ = {name: value for name, value in os.environ.items() if name != "_CODEXCTL_COMPLETE"}
    shown = subprocess.run(
        [*own_python("codexctl"), *arguments, "--json"],
        env=own_python_environment(environ | {"CODEXCTL_NO_START": "1"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_LIMIT_S,
        check=True,
    )
    return [json.loads(line) for line in shown.stdout.splitlines()]
