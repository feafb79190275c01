"""`codex-gateway completion`: a script that completes commands, options and choices."""

from __future__ import annotations

from codex_control.service.completion import completion_command

completion = completion_command("codex-gateway")
