"""What the services of this project have in common, the supervisor and the gateway: neither imports the other.

`clock` and `owned_tasks` (time and asyncio tasks that are handed in), `lock` (one of a kind), `logs` and `redaction`,
`notify` (readiness and watchdog), `plan` and `own_file` (installing), `yaml_nodes` and `nearest` (mistakes in a file,
with their place and the right name).
"""
