"""Durable tasks: turns that nobody has to wait for.

Map: `records.py` what a task is, `rules.py` what happens to one (pure), `contract.py` what an engine does and the
errors that it raises, `signals.py` how it tells of changes, `following.py` events and ends as they come.
`sqlite_engine.py` and `postgresql_engine.py` are the two engines.
"""
