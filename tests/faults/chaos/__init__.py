"""Chaos: many clients ask while children and the supervisor are killed at random; then everything is audited.

questions.py   prompts, and what each must be answered with
model.py       the model: a process of its own that answers by the prompt alone
service.py     the supervisor as a service manager runs it: dead, it is started again at once
clients.py     clients that come back as codexctl does
faults.py      what is killed, when: by the seed
world.py       one run: all of them together
audit.py       what must hold afterwards
report.py      the figures
__main__.py    the command: `python -m tests.faults.chaos --seconds 120 --seed 7`
"""
