"""A scripted stand-in for `codex`, for faults that the real one won't show. One script, many knobs.

    knobs.py     what can be turned
    program.py   the command line, the process's own faults (deaths, signals, grandchildren)
    server.py    the app-server: connections, requests, notifications
    turn.py      one turn and its faults
    threads.py   threads as files, so that resuming works after a SIGKILL
    place.py     `FakeCodex`: an executable of it in a directory of the test

It speaks the subset of the protocol that the product uses, and a test checks every message against the schema that
the installed Codex generates. Where it is asked for something else it answers with an error, as the real one does.
"""
