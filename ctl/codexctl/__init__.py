"""The command line: people, scripts and Claude Code's hooks speak to the supervisor through it.

Map: `__main__.py` ends the process with the right code, `root.py` finds the verbs, `commands/` has one file for each;
`session.py` is what every verb gets, `client.py` the gRPC side, `service.py` starts the service where it does not run,
`feed.py` follows a turn over lost connections, `view/` shows it. Nothing here imports grpc, rich or the generated
messages before a verb needs them: `--help`, `--version` and completion stay fast.
"""
