"""The supervisor in the operating system's service manager.

Map: `units.py` and `agent.py` its systemd units and launchd agent, `program.py` what it is to run, `sweep.py` ends what
a crash left. How any service of ours is written, installed and told of: `codex_control.service`.
"""
