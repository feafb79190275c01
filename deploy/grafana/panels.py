"""The few kinds of panels that the dashboards are made of, each with a unit and a description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import common as common_builder
from grafana_foundation_sdk.builders import dashboard as dashboard_builder
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.models import common, dashboard, units

PREFIX = "codex_supervisor_"
WINDOW = "$__rate_interval"
"""Grafana's own: never shorter than four scrapes, so that no rate is empty."""

PER_MINUTE = units.CountsPerMinute
PER_SECOND = units.OpsPerSecond
SECONDS = units.Seconds
BYTES = units.BytesIEC
CORES = units.PercentUnit
COUNT = units.Short

_HEIGHT = 7
_STAT_HEIGHT = 4

Panel = TypeVar("Panel", timeseries.Panel, stat.Panel)


@dataclass(frozen=True)
class Query:
    """A PromQL expression, and how its lines are called: `{{label}}` stands for the value of a label."""

    expr: str
    legend: str


def series(name: str, **matches: str) -> str:
    """Return the selector of a metric by its name without prefix; `outcome="!=completed"` negates.

    It is narrowed to the supervisors that are chosen at the top of the dashboard.
    """
    wanted = ['instance=~"$supervisor"']
    for label, value in matches.items():
        wanted.append(f'{label}!="{value[2:]}"' if value.startswith("!=") else f'{label}="{value}"')
    return f"{PREFIX}{name}{{{','.join(wanted)}}}"


def total(name: str, legend: str, *, by: str = "", **matches: str) -> Query:
    """Return the sum of a gauge, for each value of `by` where that is given."""
    return Query(f"sum{_by(by)} ({series(name, **matches)})", legend)


def per_minute(name: str, legend: str, *, by: str = "", **matches: str) -> Query:
    """Return how often something happened in a minute: rare things show as numbers that can be read."""
    return Query(f"60 * sum{_by(by)} (rate({series(name, **matches)}[{WINDOW}]))", legend)


def per_second(name: str, legend: str, *, by: str = "", **matches: str) -> Query:
    """Return how often something happened in a second, or how much of it was used."""
    return Query(f"sum{_by(by)} (rate({series(name, **matches)}[{WINDOW}]))", legend)


def quantiles(name: str, *, by: str = "", percents: tuple[int, ...] = (50, 90, 99)) -> list[Query]:
    """Return percentiles of a histogram, for each value of `by` where that is given."""
    labels = f"le, {by}" if by else "le"
    rate = f"rate({series(f'{name}_bucket')}[{WINDOW}])"
    return [
        Query(
            f"histogram_quantile({percent / 100:g}, sum by ({labels}) ({rate}))",
            f"p{percent} {{{{{by}}}}}" if by else f"p{percent}",
        )
        for percent in percents
    ]


def graph(
    title: str, description: str, unit: str, queries: list[Query], *, width: int = 8, stacked: bool = False
) -> timeseries.Panel:
    """Make a graph over time."""
    panel = (
        _described(timeseries.Panel(), title, description, unit, queries)
        .height(_HEIGHT)
        .span(width)
        .min(0)
        .line_width(1)
        .fill_opacity(10)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builder.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(
            common_builder.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
    )
    if stacked:
        panel = panel.stacking(common_builder.StackingConfig().mode(common.StackingMode.NORMAL)).fill_opacity(40)
    return panel


def number(
    title: str, description: str, unit: str, query: Query, *, width: int = 4, bad_from: float | None = None
) -> stat.Panel:
    """Make a panel that shows the present value; red from `bad_from` on."""
    steps = [dashboard.Threshold(value=None, color="green")]
    if bad_from is not None:
        steps.append(dashboard.Threshold(value=bad_from, color="red"))
    return (
        _described(stat.Panel(), title, description, unit, [query])
        .height(_STAT_HEIGHT)
        .span(width)
        .reduce_options(common_builder.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(common.BigValueGraphMode.AREA)
        .thresholds(dashboard_builder.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps))
    )


def labels_of(title: str, description: str, query: Query, *, width: int) -> stat.Panel:
    """Make a panel that shows labels in place of a value."""
    return (
        _described(stat.Panel(), title, description, units.NoUnit, [query])
        .height(_STAT_HEIGHT)
        .span(width)
        .text_mode(common.BigValueTextMode.NAME)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(common_builder.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def datasource() -> dashboard.DataSourceRef:
    """Refer to the data source that is chosen at the top of the dashboard."""
    return dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")


def _described(panel: Panel, title: str, description: str, unit: str, queries: list[Query]) -> Panel:
    panel = panel.title(title).description(description).unit(unit).datasource(datasource())
    for number_, query in enumerate(queries):
        panel = panel.with_target(
            prometheus.Dataquery()
            .expr(query.expr)
            .legend_format(query.legend)
            .ref_id(chr(ord("A") + number_))
            .range()
            .datasource(datasource())
        )
    return panel


def _by(label: str) -> str:
    return f" by ({label})" if label else ""
