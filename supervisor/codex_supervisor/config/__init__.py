"""The configuration of the supervisor.

Map: `model` every key, the long sections in `children`, `turns` and `tasks`; `reading` the file, `serving` the same for
the service, which may have no file; `reference` its page and what is in force, `profiles` what a profile is, `choosing`
which one a turn runs with.
"""
