"""The commands of `codex-gateway`, one file for each; `root` knows them by name."""
