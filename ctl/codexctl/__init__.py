"""The command line: people, scripts and Claude Code's hooks speak to the supervisor through it."""
