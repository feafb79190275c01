"""codexctl ask and attach in a pipe."""

from __future__ import annotations

from .conftest import Ctl
from .fake_supervisor import FakeSupervisor


def test_stdout_holds_exactly_the_final_answer(ctl: Ctl, fake: FakeSupervisor) -> None:
    result = ctl("ask", "hi")
    assert (result.code, result.out) == (0, "Hello\n"), result.err
    assert result.err.splitlines()[0] == "turn 01TURN0001 · attach with: codexctl attach 01TURN0001"
