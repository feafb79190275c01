"""What Claude Code gets from codexctl: its plugin, the hooks behind it, the tools for its model, and the launcher.

`marketplace/` is the plugin as data; `plugin.py` makes the copy of it that Claude Code loads. `hook_input.py` reads
what a hook is told, `slash.py` understands a command's free text, `bridge.py` performs it and `answer_text.py` words
what came of it; `lease.py` tells the service whose instance it is; `gate.py` is the review gate. `mcp_server.py` is the
tools, `launcher.py` is `claude-codex`, `installing.py` and `settings_file.py` put the plugin into the user's own Claude
Code.
"""
