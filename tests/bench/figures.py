"""What was measured: samples by case, as a table for people and as a list for programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """One line of build/bench.json. `ratio` is this p50 over that of the case `ratio_to`; both may be None.

    Without `p50` and `p99` nothing was measured: what is needed is not installed.
    """

    bench: str
    case: str
    unit: str
    p50: float | None
    p99: float | None
    ratio_to: str | None
    ratio: float | None


@dataclass(frozen=True)
class Goal:
    """An upper limit: of the ratio where the case has one, else of the p50, in the unit of the case.

    `at_least` makes it a lower limit.
    """

    limit: float
    stretch: float | None = None
    at_least: bool = False


@dataclass
class Case:
    """The samples of one case, in the order in which they were taken."""

    bench: str
    name: str
    unit: str = "ms"
    against: Case | None = None
    goal: Goal | None = None
    samples: list[float] = field(default_factory=list)

    def add(self, sample: float) -> None:
        """Take one sample in."""
        self.samples.append(sample)

    def figure(self) -> Figure:
        """What the samples come to."""
        if not self.samples:
            return Figure(self.bench, self.name, self.unit, None, None, None, None)
        p50, p99 = percentile(self.samples, 0.50), percentile(self.samples, 0.99)
        # A rival that is missing, or answered nothing in the time, is none to compare with.
        other = percentile(self.against.samples, 0.50) if self.against is not None and self.against.samples else 0
        if self.against is None or not other:
            return Figure(self.bench, self.name, self.unit, round(p50, 3), round(p99, 3), None, None)
        ratio = p50 / other
        return Figure(
            self.bench, self.name, self.unit, round(p50, 3), round(p99, 3), self.against.name, round(ratio, 3)
        )

    def verdict(self) -> str:
        """The goal, and whether it is met; a missed one says by how much."""
        figure = self.figure()
        value = figure.p50 if figure.ratio is None else figure.ratio
        if value is None:
            return "missing here"
        if self.goal is None:
            return ""
        if self.against is not None and figure.ratio is None:
            return "nothing to compare with"
        if self.goal.at_least:
            short = f" MISSED by {1 - value / self.goal.limit:.0%}" if value < self.goal.limit else " met"
            return f"≥ {self.goal.limit:g}{short}"
        text = f"≤ {self.goal.limit:g}"
        if value > self.goal.limit:
            over = f"by {value / self.goal.limit - 1:.0%}" if self.goal.limit else f"by {value:g}"
            return f"{text} MISSED {over}"
        if self.goal.stretch is None:
            return f"{text} met"
        stretch = "met too" if value <= self.goal.stretch else "not met"
        return f"{text} met (stretch ≤ {self.goal.stretch:g} {stretch})"


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least `share` of all samples do not exceed (nearest rank)."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


_HEADINGS = ("bench", "case", "n", "unit", "p50", "p99", "ratio", "goal")


def table(cases: Iterable[Case]) -> str:
    """A table in Markdown that reads well in a terminal too."""
    rows: list[tuple[str, ...]] = [_HEADINGS]
    for case in cases:
        figure = case.figure()
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f} x {figure.ratio_to}"
        values = tuple("" if value is None else _number(value) for value in (figure.p50, figure.p99))
        rows.append((case.bench, case.name, str(len(case.samples)), case.unit, *values, ratio, case.verdict()))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 or value == int(value) else f"{value:.1f}"
