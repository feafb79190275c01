"""The user's own conditions of tagging rules, in a process of their own with a time limit: regular expressions and
`python` functions. `worker` is that process, `process` its owner.
"""
