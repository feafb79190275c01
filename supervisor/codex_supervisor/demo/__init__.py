"""The built-in demo model, for trying the service out without a Codex login.

responses.py   the wire format, shared with the stub model of the tests
catalog.py     what Codex wants to know about a model
answers.py     what the demo model says
model.py       the server, and the settings that lead Codex to it
"""

from __future__ import annotations

from codex_supervisor.demo.model import DemoModel, demo_overrides

__all__ = ["DemoModel", "demo_overrides"]
