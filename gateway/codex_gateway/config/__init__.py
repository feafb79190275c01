"""The configuration: `model` (every key), `reading` (mistakes with their places), `secrets` (keys from where they are
kept), `reload` (what changed), `rewriting` (changes the file and keeps its comments), `importing_cccc`, `reference`.
"""
