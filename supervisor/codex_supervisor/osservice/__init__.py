"""The operating system's service manager: what we tell it, and how we get into it.

Map: `notify.py` readiness, status and watchdog for systemd; `systemd.py` and `launchd.py` what to write and run for
each manager, as pure plans; `plan.py` what a plan is, and carrying it out; `own_file.py` tells our files from other
people's; `program.py` finds what the service is to run; `start_limit.py` what launchd lacks.
"""
