"""The commands of `codex-supervisor`, one module each; `root` loads the one that is wanted."""
