"""The rules for Prometheus: every alert fires when it should, and only then."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from codex_supervisor.config.model import Config
from codex_supervisor.metrics import PREFIX, Metrics
from codex_supervisor.store.records import Outcome

from tests.unit.deploy.conftest import DEPLOY

PROMETHEUS = DEPLOY / "prometheus"
RULES = PROMETHEUS / "codex-supervisor.rules.yml"
ALERTS = PROMETHEUS / "codex-supervisor.alerts.yml"
RUNBOOK = Path(__file__).parents[3] / "docs" / "observability.md"

LABELS = 'instance="host:9476",job="codex-supervisor"'


def rules_of(path: Path) -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(path.read_text())["groups"]:
        yield from group["rules"]


ALL_ALERTS = {rule["alert"]: rule for rule in rules_of(ALERTS)}


def run_promtool(promtool: str, *arguments: str) -> None:
    checked = subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


# --- what they are --------------------------------------------------------------------------------------------------


def test_promtool_takes_the_configuration(promtool: str) -> None:
    run_promtool(promtool, "check", "config", str(PROMETHEUS / "prometheus.yml"))
    run_promtool(promtool, "check", "rules", "--lint=all", "--lint-fatal", str(RULES), str(ALERTS))


def test_the_page_that_is_scraped_is_the_one_that_is_served() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    served = Config().metrics
    assert job["static_configs"] == [{"targets": [f"{served.address}:{served.port}"]}]
    assert f'up{{job="{job["job_name"]}"}}' in ALL_ALERTS["CodexSupervisorDown"]["expr"]


def test_every_metric_in_a_rule_exists() -> None:
    metrics = Metrics()
    known = {entry.name for entry in metrics.documented}
    known |= {f"{entry.name}_{part}" for entry in metrics.documented for part in ("bucket", "count", "sum")}
    for rule in (*rules_of(RULES), *rules_of(ALERTS)):
        used = set(re.findall(rf"(?<![:\w]){PREFIX}_\w+", rule["expr"]))
        assert used <= known, rule


def test_every_recorded_name_in_an_alert_exists() -> None:
    recorded = {rule["record"] for rule in rules_of(RULES)}
    for rule in ALL_ALERTS.values():
        assert set(re.findall(r"instance:[\w:]+", rule["expr"])) <= recorded, rule["alert"]


@pytest.mark.parametrize("name", ALL_ALERTS)
def test_every_alert_says_what_to_do(name: str) -> None:
    rule = ALL_ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    # A command to type, a panel to look at, or a key to change.
    assert re.search(r"`[a-z]+|panels? [A-Z]", rule["annotations"]["description"])
    assert rule["annotations"]["runbook_url"] == f"docs/observability.md#{name.lower()}"


def test_the_runbook_has_a_section_for_every_alert_and_for_no_other() -> None:
    headings = re.findall(r"^### (Codex\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert headings == list(ALL_ALERTS)


def test_thresholds_of_alerts_follow_the_defaults_of_the_configuration() -> None:
    config = Config()
    assert config.instances.memory_limit == 2 * 2**30, "CodexChildMemoryHigh has nine tenths of it"
    assert config.turns.timeout < 150 * 60, "CodexTurnsStuck waits longer than any turn may last"


# --- when they fire -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A minute-by-minute story of some series, and whether `alert` fires `at` that minute of it."""

    alert: str
    story: Mapping[str, str]
    at: int
    fires: bool
    why: str = ""


def one(name: str, values: str, **labels: str) -> dict[str, str]:
    """One series of our supervisor, in promtool's notation: `0+1x3` is 0 1 2 3, `_` is a scrape without it."""
    more = "".join(f',{label}="{value}"' for label, value in labels.items())
    full = name if name == "up" else f"{PREFIX}_{name}"
    return {f"{full}{{{LABELS}{more}}}": values}


def histogram(name: str, buckets: Mapping[str, str], **labels: str) -> dict[str, str]:
    """The buckets of a histogram by their upper bounds."""
    series: dict[str, str] = {}
    for bound, values in buckets.items():
        series |= one(f"{name}_bucket", values, le=bound, **labels)
    return series


def turns(completed: str, failed: str) -> dict[str, str]:
    """Ended turns of two outcomes; the other ones stay at 0."""
    values = {Outcome.COMPLETED: completed, Outcome.FAILED: failed}
    series: dict[str, str] = {}
    for outcome in Outcome:
        series |= one("ask_seconds_count", values.get(outcome, "0x200"), outcome=outcome.value)
    return series


GIB = 2**30
SLOW = {"1": "0x10 0x50", "10": "0x10 4x50", "+Inf": "0x10 4x50"}
FAST = {"1": "0x10 4x50", "10": "0x10 4x50", "+Inf": "0x10 4x50"}

CASES = [
    Case("CodexSupervisorDown", one("up", "1x5 0x10"), 8, True),
    Case("CodexSupervisorDown", one("up", "1x5 0 1x10"), 9, False, "one scrape was lost"),
    Case("CodexSupervisorDown", {f"{PREFIX}_x{{{LABELS}}}": "1x10"}, 5, True, "it is not even configured"),
    Case("CodexSupervisorCrashLoop", one("process_start_time_seconds", "0x3 200x2 380x2 500x8"), 12, True),
    Case("CodexSupervisorCrashLoop", one("process_start_time_seconds", "0x3 200x8"), 9, False, "an upgrade"),
    Case("CodexChildCrashLoop", one("restarts_total", "0x2 1+1x8", reason="child_died"), 10, True),
    Case(
        "CodexChildCrashLoop",
        one("restarts_total", "0x2 2x8", reason="child_died") | one("restarts_total", "0x2 2x8", reason="start_failed"),
        10,
        True,
        "the reasons count together",
    ),
    Case("CodexChildCrashLoop", one("restarts_total", "0x2 1x8", reason="child_died"), 10, False, "once"),
    Case("CodexChildCrashLoop", one("restarts_total", "0x2 1+1x8", reason="requested"), 10, False, "by a person"),
    Case("CodexInstanceFailed", one("instances", "0x2 1x8", state="failed"), 5, True),
    Case("CodexInstanceFailed", one("instances", "5x10", state="ready"), 5, False),
    Case("CodexRecoverySlow", histogram("recovery_seconds", SLOW), 25, True),
    Case("CodexRecoverySlow", histogram("recovery_seconds", FAST), 25, False),
    Case("CodexTurnStalled", one("stalls_total", "0x5 1x10", action="report"), 10, True),
    Case("CodexTurnStalled", one("stalls_total", "1x30", action="report"), 25, False, "long ago"),
    Case("CodexTurnsStuck", one("running_turns", "1x200") | turns("7x200", "0x200"), 190, True),
    Case("CodexTurnsStuck", one("running_turns", "1x200") | turns("0+1x200", "0x200"), 190, False, "they end"),
    Case("CodexTurnsStuck", one("running_turns", "1x60") | turns("7x60", "0x60"), 50, False, "not for long"),
    Case("CodexTurnsStuck", one("running_turns", "1x90 0 1x120") | turns("7x220", "0x220"), 190, False, "none ran"),
    Case("CodexTurnsFail", turns("0+0x60", "0+1x60"), 40, True),
    Case("CodexTurnsFail", turns("0+4x60", "0+1x60"), 40, False, "a few of many"),
    Case("CodexTurnsFail", turns("0x60", "0x30 2x30"), 40, False, "two are no trend"),
    Case("CodexQueueFull", one("queue_rejections_total", "0x3 2x10"), 5, True),
    Case("CodexQueueFull", one("queue_rejections_total", "2x30"), 20, False, "long ago"),
    Case("CodexProbesMissed", one("probe_misses_total", "0x3 3x10"), 8, True),
    Case("CodexProbesMissed", one("probe_misses_total", "0x3 1x10"), 8, False, "one was late"),
    Case("CodexChildMemoryHigh", one("child_memory_max_bytes", f"{1.9 * GIB:.0f}x20"), 10, True),
    Case("CodexChildMemoryHigh", one("child_memory_max_bytes", f"{GIB}x20"), 10, False),
    Case(
        "CodexChildMemoryHigh",
        one("child_memory_max_bytes", f"{GIB}x5 {1.9 * GIB:.0f} {GIB}x20"),
        12,
        False,
        "it went down by itself",
    ),
    Case("CodexSupervisorMemoryHigh", one("process_resident_memory_bytes", f"{GIB}x30"), 20, True),
    Case("CodexSupervisorMemoryHigh", one("process_resident_memory_bytes", f"{60 * 2**20}x30"), 20, False),
    Case("CodexSupervisorDegraded", one("degraded", "0x2 1x20"), 10, True),
    Case("CodexSupervisorDegraded", one("degraded", "0x2 1x3 0x20"), 10, False, "it was mended"),
    Case(
        "CodexEventLoopSlow",
        histogram("event_loop_lag_seconds", {"0.25": "0x30", "1": "0+60x30", "+Inf": "0+60x30"}),
        20,
        True,
    ),
    Case(
        "CodexEventLoopSlow",
        histogram("event_loop_lag_seconds", {"0.25": "0+60x30", "1": "0+60x30", "+Inf": "0+60x30"}),
        20,
        False,
    ),
    Case(
        "CodexSupervisorFilesLow",
        one("process_open_fds", "900x20") | one("process_max_fds", "1024x20"),
        10,
        True,
    ),
    Case(
        "CodexSupervisorFilesLow",
        one("process_open_fds", "60x20") | one("process_max_fds", "1024x20"),
        10,
        False,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}-{'fires' if case.fires else case.why or 'not'}")
def test_alerts_fire_when_they_should(case: Case, promtool: str, tmp_path: Path) -> None:
    story = {f"{PREFIX}_degraded{{{LABELS}}}": "0x300", **case.story}
    if case.alert != "CodexSupervisorDown":
        story |= one("up", "1x300")
    firing = f'count by (alertname) (ALERTS{{alertname="{case.alert}",alertstate="firing"}})'
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in story.items()],
        "promql_expr_test": [
            {
                "expr": firing,
                "eval_time": f"{case.at}m",
                "exp_samples": [{"labels": f'{{alertname="{case.alert}"}}', "value": 1}] if case.fires else [],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(
        yaml.safe_dump(
            {"rule_files": [str(RULES), str(ALERTS)], "evaluation_interval": "1m", "tests": [test]}, sort_keys=False
        )
    )
    run_promtool(promtool, "test", "rules", str(file))


def test_every_alert_has_a_story_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    assert {case.alert for case in CASES if case.fires} == set(ALL_ALERTS)
    assert {case.alert for case in CASES if not case.fires} == set(ALL_ALERTS)


def test_percentiles_are_recorded_for_each_supervisor(promtool: str, tmp_path: Path) -> None:
    buckets = {"1": "0+5x20", "2": "0+10x20", "+Inf": "0+10x20"}
    series = histogram("ask_seconds", buckets, outcome="completed") | histogram("first_text_seconds", buckets)
    series |= histogram("queue_wait_seconds", buckets)

    def expected(name: str, value: float) -> dict[str, Any]:
        labels = f'{{__name__="{name}",instance="host:9476",job="codex-supervisor"}}'
        return {"expr": name, "eval_time": "10m", "exp_samples": [{"labels": labels, "value": value}]}

    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            # Half of the observations are below 1 s, all of them below 2 s, evenly spread inside a bucket.
            expected("instance:codex_supervisor_ask_seconds:p50_rate5m", 1),
            expected("instance:codex_supervisor_ask_seconds:p99_rate5m", 1.98),
            expected("instance:codex_supervisor_first_text_seconds:p50_rate5m", 1),
            expected("instance:codex_supervisor_first_text_seconds:p99_rate5m", 1.98),
            expected("instance:codex_supervisor_queue_wait_seconds:p99_rate5m", 1.98),
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    run_promtool(promtool, "test", "rules", str(file))
