"""What the services of this project have in common, the supervisor and the gateway: neither imports the other.

`clock` and `owned_tasks` (time and asyncio tasks that are handed in), `lock` (one of a kind), `logs` and `redaction`,
`lock_holder`, `notify` (readiness and watchdog), `command_group`, `completion`, `console_script` and `doctor_report`
(the command line), `systemd`, `launchd`, `program`, `plan`, `own_file`, `managing` and `start_limit` (installing),
`config_key`, `config_reader`, `config_meanings`, `units`, `yaml_nodes` and `nearest` (a configuration, and mistakes in
it with their place and the right name).
"""
