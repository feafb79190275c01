"""The built-in demo model, for trying the gateway out without a provider. No AI, and it says so in every answer.

answers.py   what it says, as the parts of one answer; pure
model.py     the server: Chat Completions on loopback, an endpoint like any other
"""
