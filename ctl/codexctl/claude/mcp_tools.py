"""The tools of `codexctl mcp`, as Claude Code's model sees them.

Background tasks are not offered before they exist: a tool that always refuses would only cost context.
"""

from __future__ import annotations

from typing import Any

import mcp_types as types

# An ask runs whatever Codex decides to run, and Codex works in the user's own files: nothing is promised.
_WORKS = types.ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True)
_LOOKS = types.ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
_ENDS = types.ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)


def _schema(required: tuple[str, ...] = (), **properties: str) -> dict[str, Any]:
    described = {name: {"type": "string", "description": text} for name, text in properties.items()}
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
        name="cancel",
        title="Stop a turn of Codex",
        description="Stop a turn of this session's Codex that runs or waits. What it has changed stays changed.",
        input_schema=_schema(turn="The turn's id; without it the running one."),
        annotations=_ENDS,
    ),
)
