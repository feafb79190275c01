"""The store: what was decided, in SQLite, so that any process may die at any moment.

Map: `store.py` is the door (`Store`), `records.py` the plain records that go through it. Behind it: `schema.py` the
tables and migrations, `rows.py` records to rows and back, `journal.py` turns and their events, `instances.py` instances
and children, `history.py` pages over store and archive, `pages.py` page tokens, `archive.py` the compressed files,
`housekeeping.py` what moves, shrinks and is removed. The file and its two threads are `codex_control.database`'s.
"""
