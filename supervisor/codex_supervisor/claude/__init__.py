"""Claude Code sessions: which instance is whose, and is the process still there.

Map: `binding.py` (pure) decides whose instance a session is, `process.py` finds out who a process is, `leases.py`
watches the processes and hibernates the child of one that is gone.
"""
