"""One turn: sent to a child, followed, recorded, and carried on after a death.

Map: `ids.py` makes ids, `messages.py` turns records into API messages, `draft.py` (pure) gathers what Codex reports
into events and the record, `outcome.py` (pure) reads Codex's errors, `log.py` writes events to the journal and hands
them to followers, `approvals.py` answers what Codex asks, `review.py` (pure) knows what is
different in a review, `run.py` drives the turn.
"""
