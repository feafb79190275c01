"""The gateway in the operating system's service manager.

Map: `units.py` and `agent.py` its systemd unit and launchd agent, `program.py` what it is to run. How any service of
ours is written, installed and told of: `codex_control.service`.
"""
