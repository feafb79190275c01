"""The figures of a run, for people and as JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.faults.chaos.audit import recorded_turns
from tests.faults.chaos.world import CLIENTS, INSTANCES, Evidence

MAX_LISTED = 30
"""Violations on the terminal; the file has them all."""


def figures(evidence: Evidence, seconds: float, seed: int, violations: list[str]) -> dict[str, Any]:
    """All figures; plain data."""
    recorded = recorded_turns(evidence.state_dir / "supervisor.db").values()
    reports = [event.recovery for turn in recorded for event in turn.events if event.HasField("recovery")]
    took_s = [report.took.ToNanoseconds() / 1e9 for report in reports if report.HasField("took")]
    return {
        "seconds": seconds,
        "seed": seed,
        "clients": CLIENTS,
        "instances": INSTANCES,
        "faults": dict(evidence.faults.most_common()),
        "asked": len(evidence.asked),
        "asked_by_manner": dict(Counter(asked.manner.value for asked in evidence.asked)),
        "recorded": len(recorded),
        "outcomes": dict(Counter(turn.outcome for turn in recorded)),
        "events_recorded": sum(len(turn.events) for turn in recorded),
        "connections_lost_by_clients": sum(asked.lost_connections for asked in evidence.asked),
        "turns_carried_on": sum(turn.recoveries > 0 for turn in recorded),
        "recovery_reports": len(reports),
        "most_recoveries_of_one_turn": max((turn.recoveries for turn in recorded), default=0),
        "recovery_s": quantiles(took_s),
        "supervisor_starts": evidence.supervisor_starts,
        "supervisor_back_s": quantiles(evidence.back_after_s),
        "ask_s": quantiles([turn.total_s for turn in recorded if turn.total_s is not None]),
        "memory_of_the_last_supervisor_mib": round(evidence.memory_of_the_last_bytes / 2**20, 1),
        "open_files_of_the_last_supervisor": sum(evidence.files_of_the_last.values()),
        "open_files_of_a_fresh_supervisor": sum(evidence.files_of_a_fresh_one.values()),
        "violations": violations,
    }


def quantiles(values: list[float]) -> dict[str, float]:
    """The 50th and 99th percentile (nearest rank) and the maximum."""
    ordered = sorted(values)
    if not ordered:
        return {}
    return {
        "p50": round(ordered[len(ordered) // 2], 3),
        "p99": round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], 3),
        "max": round(ordered[-1], 3),
    }


def lines(figures: dict[str, Any]) -> list[str]:
    """The figures as lines for a terminal."""
    shown = [f"{name.replace('_', ' ')}: {_value(value)}" for name, value in figures.items() if name != "violations"]
    found = figures["violations"]
    listed = [f"  - {violation}" for violation in found[:MAX_LISTED]]
    return [*shown, f"violations: {len(found)}", *listed]


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items()) or "none"
    return str(value)
