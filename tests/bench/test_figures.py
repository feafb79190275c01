"""What becomes of samples; no time is measured here."""

from __future__ import annotations

import msgspec
import pytest

from tests.bench.figures import Case, Figure, Goal, percentile, table


def case(*samples: float, against: Case | None = None, goal: Goal | None = None) -> Case:
    return Case("ask", "Turns.Ask", against=against, goal=goal, samples=list(samples))


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_a_sample(share: float, expected: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], share) == expected


def test_a_ratio_is_one_of_medians() -> None:
    limit = Case("ask", "limit", samples=[10, 20, 90])
    assert case(1, 25, 99, against=limit).figure() == Figure("ask", "Turns.Ask", "ms", 25, 99, "limit", 1.25)
    assert limit.figure() == Figure("ask", "limit", "ms", 20, 90, None, None)


@pytest.mark.parametrize(
    ("samples", "goal", "verdict"),
    [
        ([50.0], Goal(50), "≤ 50 met"),
        ([55.0], Goal(50), "≤ 50 MISSED by 10%"),
        ([2.0], Goal(0), "≤ 0 MISSED by 2"),
        ([0.7], Goal(0.8, stretch=0.6), "≤ 0.8 met (stretch ≤ 0.6 not met)"),
        ([0.6], Goal(0.8, stretch=0.6), "≤ 0.8 met (stretch ≤ 0.6 met too)"),
        ([50.0], Goal(40, at_least=True), "≥ 40 met"),
        ([30.0], Goal(40, at_least=True), "≥ 40 MISSED by 25%"),
        ([1.0], None, ""),
    ],
)
def test_a_missed_goal_is_marked(samples: list[float], goal: Goal | None, verdict: str) -> None:
    assert case(*samples, goal=goal).verdict() == verdict


def test_what_could_not_be_measured_is_said() -> None:
    rival = Case("tasks", "pueue add")
    assert rival.figure() == Figure("tasks", "pueue add", "ms", None, None, None, None)
    assert "missing here" in table([rival])
    rival_that_was_too_slow = Case("gateway", "LiteLLM", "req/s", samples=[0])
    for other in rival, rival_that_was_too_slow:
        alone = case(4, against=other, goal=Goal(40, at_least=True))
        assert alone.figure().ratio is None
        assert alone.verdict() == "nothing to compare with"


def test_the_table_has_a_line_for_each_case() -> None:
    lines = table([case(1, 2, 3), case(4)]).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1


def test_the_list_for_programs_has_the_agreed_keys() -> None:
    made = msgspec.json.decode(msgspec.json.encode(case(1).figure()))
    assert list(made) == ["bench", "case", "unit", "p50", "p99", "ratio_to", "ratio"]
