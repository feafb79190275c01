"""codexctl task: work that goes on without anybody waiting for it. One file for each verb."""

from __future__ import annotations

import click
from codex_control.service.command_group import CommandGroup

# Beside the names, so that --help loads no verb and a line fits into 80 columns.
HELP = {
    "submit": "Hand work over, and print the task's id.",
    "list": "List tasks, newest first.",
    "show": "Show where a task stands, its attempts and what came of it.",
    "watch": "Show what tasks do, recorded and live, until they end.",
    "wait": "Wait until all tasks, or any of them, have ended.",
    "result": "Print the answer of a task.",
    "logs": "Print what a task did, line by line.",
    "cancel": "End a task that waits or runs.",
    "retry": "Try a task again that ended without success.",
    "prune": "Forget ended tasks with their answers and events.",
}

VERBS = tuple(sorted(HELP))


@click.command(
    "task",
    cls=CommandGroup,
    package="codexctl.commands.task",
    lazy_commands={verb: (verb, "command") for verb in VERBS},
    sections={"Commands": HELP},
)
def command() -> None:
    """Hand work to Codex and go on: durable, queued, retried, with a heartbeat.

    A task is on the disk before submit prints its id. It survives the end of this terminal, of Claude Code, of its
    Codex, of the service and of the machine, and ends exactly once: DONE, ERROR or TIMEOUT.

    Start with submit; list and show say how far it is, wait and result bring the end.

    \b
    codexctl task submit "port the tests to pytest"
    id=$(codexctl task submit --worktree --timeout 1h - < order.txt)
    codexctl task submit --after "$id" "review what task $id did"
    codexctl task wait "$id" && codexctl task result "$id"
    codexctl task list --state running
    codexctl task prune --older-than 7d

    Exit codes of submit --wait, wait, watch and result: 0 DONE, 1 ERROR, 6 cancelled, 8 TIMEOUT, 11 not ended (the
    time of wait --timeout passed), 130 left with Ctrl-C. Of several tasks that of the worst: 1 before 8 before 6.
    """
