"""The tools of `codexctl mcp`, as Claude Code's model sees them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import mcp_types as types
from codex_control.errors import BadInput

# An ask runs whatever Codex decides to run, and Codex works in the user's own files: nothing is promised.
_WORKS = types.ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True)
_LOOKS = types.ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
_ENDS = types.ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)


def _schema(
    required: tuple[str, ...] = (), switches: Mapping[str, str] = MappingProxyType({}), **properties: str
) -> dict[str, Any]:
    described = {name: {"type": "string", "description": text} for name, text in properties.items()}
    described |= {name: {"type": "boolean", "description": text} for name, text in switches.items()}
    return {"type": "object", "properties": described, "required": list(required), "additionalProperties": False}


TOOLS = (
    types.Tool(
        name="ask",
        title="Ask Codex",
        description=(
            "Ask this session's own Codex, another coding agent that works in the same directory and remembers what it "
            "was asked before. It sees the files, not this conversation: give it all it needs. It may run commands and "
            "change files. Takes from seconds to many minutes. The answer comes with the instance and the turn id: "
            "name them when you pass it on."
        ),
        input_schema=_schema(
            ("question",),
            question="The whole question or order, in words that need no other context.",
            profile="For this turn only: high (thinks longest), default, low, or one of the user's own.",
        ),
        annotations=_WORKS,
    ),
    types.Tool(
        name="review",
        title="Have Codex review changes",
        description=(
            "Have this session's Codex review changes: those that are not committed, or with `base` what the working "
            "tree changes against that branch or commit. It may run commands to check what it suspects."
        ),
        input_schema=_schema(
            base="Branch, tag or commit to compare with; without it the uncommitted changes.",
            focus="What to mind above all.",
        ),
        annotations=_WORKS,
    ),
    types.Tool(
        name="status",
        title="How Codex is",
        description="The state, profile and running turn of this session's Codex. Costs nothing.",
        input_schema=_schema(),
        annotations=_LOOKS,
    ),
    types.Tool(
        name="task_submit",
        title="Give Codex work for the background",
        description=(
            "Hand work to a Codex of its own and go on at once; the answer is a task's id. It works in the same "
            "directory, at the same time as you, with a conversation of its own: give it all it needs, and work that "
            "does not touch what you change, or `worktree`. It goes on when this session ends. Look with task_status, "
            "fetch with task_result."
        ),
        input_schema=_schema(
            ("order",),
            {"worktree": "Whether it works in a git worktree of its own, on a branch that the result names."},
            order="The whole order, in words that need no other context.",
            profile="high (thinks longest), default, low, or one of the user's own; without it this session's.",
        ),
        annotations=_WORKS,
    ),
    types.Tool(
        name="task_status",
        title="How far background work is",
        description="The tasks of this session, newest first, with what each does now; or one of them. Costs nothing.",
        input_schema=_schema(task="The task's id; without it all of this session."),
        annotations=_LOOKS,
    ),
    types.Tool(
        name="task_result",
        title="What came of background work",
        description=(
            "The answer of a task that has ended, with how it ended and the files that it changed. Does not wait: of a "
            "task that goes on it says how far it is. Name the task's id when you pass the answer on."
        ),
        input_schema=_schema(task="The task's id; without it the latest of this session that has ended."),
        annotations=_LOOKS,
    ),
    types.Tool(
        name="cancel",
        title="Stop a turn or a task of Codex",
        description=(
            "Stop a turn of this session's Codex that runs or waits, or a background task. What it has changed stays "
            "changed."
        ),
        input_schema=_schema(
            turn="The turn's id; without it, and without `task`, the running one.", task="The task's id."
        ),
        annotations=_ENDS,
    ),
)


def check_arguments(name: str, arguments: Mapping[str, object]) -> None:
    """Raise `BadInput` for a tool that there is not, and for an argument that its schema has not.

    Neither the library nor Claude Code looks, and an argument that is passed over in silence does harm: an order that
    was meant for a worktree would be worked on beside the person.
    """
    schema = next((tool.input_schema for tool in TOOLS if tool.name == name), None)
    if schema is None:
        raise BadInput(f"there is no tool {name}", next_step=f"there are {', '.join(tool.name for tool in TOOLS)}")
    known = schema["properties"]
    for argument, value in arguments.items():
        match known.get(argument, {}).get("type"):
            case None:
                takes = f"it takes {', '.join(known)}" if known else "it takes nothing"
                raise BadInput(f"{name} takes no `{argument}`", next_step=takes)
            case "string" if not isinstance(value, str):
                raise BadInput(f"{argument} is no text", next_step=f"give `{argument}` as a string")
            case "boolean" if not isinstance(value, bool):
                raise BadInput(f"{argument} is neither true nor false", next_step=f"give `{argument}` as a boolean")
