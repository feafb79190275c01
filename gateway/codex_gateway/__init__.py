"""The model gateway: one loopback port through which Codex and Claude Code use any model provider."""
