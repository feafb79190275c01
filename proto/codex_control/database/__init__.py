"""SQLite for services that must come up and lose nothing.

Map: `opening` makes, checks and, where it is damaged, sets aside the file; `schema` brings it up to date; `worker`,
`writer` (group commit) and `reader` are the two threads, and `pair` starts both; `failures` puts SQLite's errors into
words.
"""
