"""The supervisor: one service per user that keeps a Codex child for every instance and loses no answer.

Map: `daemon.py` puts the parts together, `rpc/` gRPC, `claude/` whose instance a session is, `task/` durable tasks,
`instance/` the pure core and its shell, `turn/` one turn, `child/` one Codex process, `store/` SQLite, `config/` the
model of the configuration file; `doctor/`, `osservice/` and `commands/` are for people. docs/architecture.md says more.
"""
