"""Leads clients to the gateway by their own settings, and undoes it byte for byte.

clients.py   what each client's settings file must say; its format
changes.py   putting values into parsed settings and taking them out again; pure
files.py     the file itself, its backup, and the undo
proof.py     a real request with what the settings say
"""
