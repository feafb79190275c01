"""One Codex process, from the binary on disk to the proof that nothing of it is left.

`locate.py` finds the binary and `installed.py` a newer one, `environment.py` makes its environment, `spawn.py` starts
or adopts it, `identity.py` tells it from a stranger with the same pid, `exitwatch.py` hears of its end, `orphans.py`
reaps what it left to us, `tree.py` stops it with everything that it started. `appserver.py` speaks to it in the words
of `protocol.py`. What differs between Linux and macOS is behind `processes.py`.
"""
