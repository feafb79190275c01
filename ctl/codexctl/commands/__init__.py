"""The verbs, one module for each; `command` is what the root command runs."""
