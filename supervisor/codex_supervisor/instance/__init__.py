"""Instances: a pure core that decides, and one asyncio shell that performs.

Map: `states.py` what an instance can be, `events.py` what can happen to it and what it then wants done, `budget.py`
how often it may restart and how long it waits, `step.py` the decision itself; `shell.py` performs the commands on
real children, `fleet.py` holds all instances of the user.
"""
