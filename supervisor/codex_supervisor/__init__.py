"""The supervisor: one service per user that keeps a Codex child for every instance and loses no answer.

Map: `daemon.py` puts the parts together, `config.py` is the model of the configuration file, `child/` one Codex
process, `instance/` the pure core and its shell, `store/` SQLite, `rpc/` gRPC, `osservice/` systemd and launchd,
`metrics.py` what Prometheus reads.
"""
