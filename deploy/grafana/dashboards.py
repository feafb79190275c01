"""The Grafana dashboards, as Python; the JSON files beside this one are generated from it by `make docs`.

Their queries need the metrics alone, no recording rules, so that they can be imported as they are.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import dashboard as dashboard_builder
from grafana_foundation_sdk.builders import stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from deploy.grafana.panels import (
    BYTES,
    CORES,
    COUNT,
    PER_MINUTE,
    PER_SECOND,
    SECONDS,
    Query,
    datasource,
    graph,
    labels_of,
    number,
    per_minute,
    per_second,
    quantiles,
    series,
    total,
)

Panels = Sequence[timeseries.Panel | stat.Panel]

_OVERVIEW_UID = "codex-supervisor"
_INTERNALS_UID = "codex-supervisor-internals"
_TAG = "codex-supervisor"


def dashboards() -> dict[str, str]:
    """Return every dashboard as JSON, by its file's name."""
    built = {"overview.json": _overview(), "internals.json": _internals()}
    return {name: JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n" for name, made in built.items()}


def _overview() -> dashboard_builder.Dashboard:
    made = _dashboard(
        _OVERVIEW_UID,
        "Codex supervisor",
        "What people ask, how long answers take, and how the children that give them are doing.",
    )
    return _with_rows(
        made, {"Now": _now(), "Turns": _turns(), "Tasks": _tasks(), "Instances and children": _instances()}
    )


def _internals() -> dashboard_builder.Dashboard:
    made = _dashboard(
        _INTERNALS_UID,
        "Codex supervisor: internals",
        "What the supervisor and its children use, and how fast it works.",
    )
    return _with_rows(made, {"Use of the machine": _use(), "The API": _api(), "The supervisor itself": _itself()})


def _dashboard(uid: str, title: str, description: str) -> dashboard_builder.Dashboard:
    return (
        dashboard_builder.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([_TAG])
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .time("now-3h", "now")
        .refresh("30s")
        .editable()
        .with_variable(dashboard_builder.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(
            dashboard_builder.QueryVariable("supervisor")
            .label("Supervisor")
            .datasource(datasource())
            .query("label_values(codex_supervisor_build_info, instance)")
            .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
            .multi(True)
            .include_all(True)
            .all_value(".*")
            .current(dashboard.VariableOption(text="All", value="$__all", selected=True))
        )
        .link(
            dashboard_builder.DashboardLink("Codex supervisor")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags([_TAG])
            .keep_time(True)
            .include_vars(True)
        )
    )


def _with_rows(made: dashboard_builder.Dashboard, rows: Mapping[str, Panels]) -> dashboard_builder.Dashboard:
    # Numbers of our own, so that the same sources make the same file and links to a panel stay.
    numbers = itertools.count(1)
    for row, panels in rows.items():
        made.with_row(dashboard_builder.Row(row).id(next(numbers)))
        for panel in panels:
            made.with_panel(panel.id(next(numbers)))
    return made


# --- overview -------------------------------------------------------------------------------------------------------


def _now() -> Panels:
    return [
        number("Running turns", "Turns that run now, as last sampled.", COUNT, total("running_turns", "running")),
        number(
            "Waiting turns",
            "Turns that wait in the queues of their instances, as last sampled.",
            COUNT,
            total("queued_turns", "waiting"),
        ),
        number("Awake children", "Codex processes that run, as last sampled.", COUNT, total("children", "awake")),
        number(
            "Failed instances",
            "Instances whose restart budget is spent or that cannot start: `codexctl status` says why.",
            COUNT,
            total("instances", "failed", state="failed"),
            bad_from=1,
        ),
        number(
            "Degraded",
            "Number of things that do not work at present: `codexctl status` names them.",
            COUNT,
            total("degraded", "degraded"),
            bad_from=1,
        ),
        labels_of(
            "Version",
            "Version of the supervisor and of the Codex that new children run.",
            Query(
                f"max by (version, codex_version) ({series('build_info')})", "{{version}} with Codex {{codex_version}}"
            ),
            width=4,
        ),
    ]


def _turns() -> Panels:
    return [
        graph(
            "Turns by outcome",
            "Turns that ended, by outcome, for each minute.",
            PER_MINUTE,
            [per_minute("ask_seconds_count", "{{outcome}}", by="outcome")],
            stacked=True,
        ),
        graph(
            "Turns that did not complete, by cause",
            "Why turns failed, were cancelled or were interrupted, for each minute.",
            PER_MINUTE,
            [per_minute("turns_total", "{{outcome}}: {{cause}}", by="outcome, cause", outcome="!=completed")],
            stacked=True,
        ),
        graph(
            "Time of an ask",
            "From a turn's acceptance to its outcome: the queue, Codex and the model provider together.",
            SECONDS,
            quantiles("ask_seconds"),
        ),
        graph(
            "Time to the first event",
            "From the sending of a turn to Codex until Codex shows the first sign of work.",
            SECONDS,
            quantiles("first_event_seconds"),
        ),
        graph(
            "Time to the first text",
            "From the sending of a turn to Codex until the first text of its answer.",
            SECONDS,
            quantiles("first_text_seconds"),
        ),
        graph(
            "Wait in the queue",
            "From a turn's acceptance until it was sent to Codex: other turns of the instance, and a child's start.",
            SECONDS,
            quantiles("queue_wait_seconds"),
        ),
        graph(
            "Queue depth",
            "Turns that run and turns that wait, over all instances, as sampled every 5 seconds.",
            COUNT,
            [total("running_turns", "running"), total("queued_turns", "waiting")],
        ),
        graph(
            "Refused for a full queue",
            "Turns refused because their instance had `turns.queue_limit` of them waiting, for each minute.",
            PER_MINUTE,
            [per_minute("queue_rejections_total", "refused")],
        ),
        graph(
            "Tokens by kind",
            "Tokens that the model provider counted, for each minute, at the end of the turns that used them. "
            "Cached input is part of input, reasoning output is part of output.",
            PER_MINUTE,
            [per_minute("tokens_total", "{{kind}}", by="kind")],
        ),
        graph(
            "Approvals",
            "What Codex asked leave for, by the answer and by who gave it, for each minute.",
            PER_MINUTE,
            [per_minute("approvals_total", "{{decision}} by {{by}}", by="decision, by")],
            stacked=True,
        ),
        graph(
            "Provider retries and stalls",
            "Retries by Codex after a failure of the model provider, and turns that gave no sign of life for "
            "`turns.stall_after`, for each minute.",
            PER_MINUTE,
            [per_minute("provider_retries_total", "retries"), per_minute("stalls_total", "stalls", by="")],
        ),
        graph(
            "Dropped events",
            "Events dropped because a turn passed `turns.recorded_output_limit`, for each minute.",
            PER_MINUTE,
            [per_minute("events_dropped_total", "dropped")],
        ),
    ]


def _tasks() -> Panels:
    return [
        graph(
            "Tasks by state",
            "Tasks in each state, as sampled every 5 seconds; those that are pending are the depth of the queue. "
            "Supervisors that share a queue all show the same.",
            COUNT,
            [total("tasks", "{{state}}", by="state")],
        ),
        graph(
            "Ended tasks by outcome",
            "Tasks that ended, for each minute, by the supervisor that ran them.",
            PER_MINUTE,
            [per_minute("task_ends_total", "{{outcome}}", by="outcome")],
            stacked=True,
        ),
        graph(
            "Attempts that are tried again",
            "Attempts that failed in a way that may pass, for each minute.",
            PER_MINUTE,
            [per_minute("task_retries_total", "{{outcome}}", by="outcome")],
            stacked=True,
        ),
        graph(
            "Wait for a worker",
            "From a task's acceptance to the start of its first attempt, the tasks that it comes after included.",
            SECONDS,
            quantiles("task_start_seconds"),
        ),
        graph(
            "Time of a task",
            "From the start of a task's first attempt to its end, waits between attempts included.",
            SECONDS,
            quantiles("task_run_seconds"),
        ),
        graph(
            "Heartbeats and stalls",
            "Looks at running tasks, for each minute: those that found life, those that found none (`still`: the child "
            "lives; `dead`), and attempts interrupted after `tasks.stall_after`.",
            PER_MINUTE,
            [
                per_minute("task_heartbeats_total", "heartbeats"),
                per_minute("task_heartbeat_misses_total", "no life: {{life}}", by="life"),
                per_minute("task_stalls_total", "stalled: {{life}}", by="life"),
            ],
        ),
        graph(
            "State files that could not be written",
            "Tries for each minute; `codexctl task show` says why.",
            PER_MINUTE,
            [per_minute("task_state_file_errors_total", "failed")],
        ),
        graph(
            "Databases of the tasks that answer",
            "One for each supervisor. Less while a database is away: `codexctl doctor` there says why.",
            COUNT,
            [total("task_engine_up", "answer")],
        ),
    ]


def _instances() -> Panels:
    return [
        graph(
            "Instance states",
            "Instances by state. Hibernated and stopped ones cost next to nothing.",
            COUNT,
            [total("instances", "{{state}}", by="state")],
            stacked=True,
        ),
        graph(
            "Restarts by reason",
            "New children in place of others, for each minute: `child_died`, `probe_misses` and `start_failed` were "
            "not wanted.",
            PER_MINUTE,
            [per_minute("restarts_total", "{{reason}}", by="reason")],
            stacked=True,
        ),
        graph(
            "Recovery time",
            "From a child's death under a turn until the turn went on in a new child.",
            SECONDS,
            quantiles("recovery_seconds"),
        ),
        graph(
            "Recovered turns",
            "Turns whose child died, by what was done (`turns.on_interrupted`), for each minute.",
            PER_MINUTE,
            [per_minute("recoveries_total", "{{action}}", by="action")],
            stacked=True,
        ),
        graph(
            "Probe misses",
            "Probes that a child did not answer within `instances.probe_timeout`, for each minute.",
            PER_MINUTE,
            [per_minute("probe_misses_total", "missed")],
        ),
        graph(
            "Starts of children",
            "Starts by result, for each minute. A restart is a start too.",
            PER_MINUTE,
            [per_minute("child_starts_total", "{{result}}", by="result")],
        ),
        graph(
            "Time of a start",
            "From the spawn of a child until it was ready for turns.",
            SECONDS,
            quantiles("start_seconds"),
        ),
        graph(
            "Time of a stop",
            "From the decision to stop a child until every process that it had started was gone.",
            SECONDS,
            quantiles("stop_seconds"),
        ),
        graph(
            "Hibernations and adoptions",
            "Idle children stopped, by reason, and children of an earlier supervisor, by what became of them, for "
            "each minute.",
            PER_MINUTE,
            [
                per_minute("hibernations_total", "hibernated: {{reason}}", by="reason"),
                per_minute("adoptions_total", "earlier child: {{result}}", by="result"),
            ],
        ),
    ]


# --- internals ------------------------------------------------------------------------------------------------------


def _use() -> Panels:
    return [
        graph(
            "Memory",
            "Resident memory: all children together with what they started, the largest of them, and the supervisor.",
            BYTES,
            [
                total("child_memory_bytes", "children"),
                Query(f"max ({series('child_memory_max_bytes')})", "largest child"),
                total("process_resident_memory_bytes", "supervisor"),
            ],
        ),
        graph(
            "CPU",
            "Processor time used in a second: 100 % is one core.",
            CORES,
            [
                per_second("child_cpu_seconds_total", "children"),
                per_second("process_cpu_seconds_total", "supervisor"),
            ],
        ),
        graph(
            "Open files",
            "Share of the supervisor's file descriptors that is in use.",
            CORES,
            [
                Query(
                    f"max ({series('process_open_fds')} / {series('process_max_fds')})",
                    "in use",
                )
            ],
        ),
    ]


def _api() -> Panels:
    return [
        graph(
            "Calls by method",
            "Ended gRPC calls, for each second. A stream is one call, and ends with its turn.",
            PER_SECOND,
            [per_second("rpc_calls_total", "{{method}}", by="method")],
            stacked=True,
        ),
        graph(
            "Calls by status code",
            "Ended gRPC calls by status code, for each second. `CANCELLED` is a client that went away; "
            "`RESOURCE_EXHAUSTED` a limit, such as a full queue; `INTERNAL` a fault of the supervisor.",
            PER_SECOND,
            [per_second("rpc_calls_total", "{{code}}", by="code")],
            stacked=True,
        ),
        graph(
            "Refused and failed calls",
            "Calls that did not end with OK, by method and code, for each second.",
            PER_SECOND,
            [per_second("rpc_calls_total", "{{method}} {{code}}", by="method, code", code="!=OK")],
        ),
        graph(
            "Duration of calls",
            "Nine of ten calls of a method were shorter. Streams last as long as their turn.",
            SECONDS,
            quantiles("rpc_seconds", by="method", percents=(90,)),
            width=24,
        ),
    ]


def _itself() -> Panels:
    return [
        graph(
            "Lag of the event loop",
            "How late the event loop woke a sleeper. Much of it means that something blocks the loop, or that the "
            "machine is overloaded.",
            SECONDS,
            quantiles("event_loop_lag_seconds"),
        ),
        graph(
            "Journal writes",
            "Committed writes to the store, for each second.",
            PER_SECOND,
            [per_second("journal_write_seconds_count", "writes")],
        ),
        graph(
            "Duration of a journal write",
            "How long one committed write to the store took. An ask waits for one before it is accepted.",
            SECONDS,
            quantiles("journal_write_seconds"),
        ),
        graph(
            "Log records",
            "Log records by level, for each minute.",
            PER_MINUTE,
            [per_minute("log_records_total", "{{level}}", by="level")],
            stacked=True,
        ),
        graph(
            "Degraded",
            "Number of things that do not work at present, and databases that were put aside since the start.",
            COUNT,
            [total("degraded", "degraded"), total("store_quarantines_total", "databases put aside")],
        ),
        graph(
            "Reloads",
            "Reloads of the configuration by result, for each minute.",
            PER_MINUTE,
            [per_minute("config_reloads_total", "{{result}}", by="result")],
        ),
        graph(
            "Uptime",
            "Time since the supervisor's start: each fall is a restart.",
            SECONDS,
            [Query(f"time() - min by (instance) ({series('process_start_time_seconds')})", "{{instance}}")],
            width=24,
        ),
    ]
