"""How a turn is shown: `plain.py` in a pipe, `terminal.py` for a person, `json_lines.py` for programs.

`lines.py` has the sentences, `activity.py` what Codex does now, `markdown.py` the parts of an answer that are final,
`prompt.py` what a person is asked.
"""
