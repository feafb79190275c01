"""codexctl completion: a script that completes verbs, options and instances."""

from __future__ import annotations

from codex_control.service.completion import completion_command

command = completion_command("codexctl")
