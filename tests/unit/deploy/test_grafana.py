"""The dashboards for Grafana, as they are committed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from codex_supervisor.metrics import PREFIX, Metrics

from deploy.grafana.dashboards import dashboards
from tests.unit.deploy.conftest import DEPLOY

FILES = sorted((DEPLOY / "grafana").glob("*.json"))
BOARDS = {file.name: json.loads(file.read_text()) for file in FILES}


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, board in BOARDS.items():
        for panel in board["panels"]:
            if panel["type"] != "row":
                yield f"{name}: {panel['title']}", panel


PANELS = dict(panels())


def test_the_committed_files_are_those_that_are_generated() -> None:
    assert {file.name: file.read_text() for file in FILES} == dashboards()


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_can_be_imported_as_it_is(name: str) -> None:
    board = BOARDS[name]
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    assert variables["supervisor"]["allValue"] == ".*"
    assert "id" not in board, "an id belongs to one Grafana; the uid is ours"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in board["panels"]]
    assert len(set(titles)) == len(titles)


def test_dashboards_have_names_of_their_own() -> None:
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS) == 2


@pytest.mark.parametrize("name", BOARDS)
def test_panels_neither_overlap_nor_leave_the_grid(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("name", PANELS)
def test_every_panel_has_a_unit_a_description_and_the_chosen_data_source(name: str) -> None:
    panel = PANELS[name]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["description"].endswith(".")
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert panel["datasource"] == chosen
    assert panel["targets"]
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)
    for target in panel["targets"]:
        assert target["datasource"] == chosen
        assert target["legendFormat"]


def expressions() -> list[str]:
    return [target["expr"] for panel in PANELS.values() for target in panel["targets"]]


def test_every_query_is_narrowed_to_the_chosen_supervisors() -> None:
    for expr in expressions():
        for selector in re.findall(rf"{PREFIX}_\w+(\S*)", expr):
            assert selector.startswith('{instance=~"$supervisor"'), expr


def test_every_metric_is_shown_and_every_shown_metric_exists() -> None:
    shown = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for expr in expressions()
        for name in re.findall(rf"{PREFIX}_\w+", expr)
    }
    known = {entry.name for entry in Metrics().documented}
    assert shown <= known
    # By outcome they are in the ask's histogram; accepted ones are those that ended, and those that run or wait.
    left_out = {f"{PREFIX}_{name}" for name in ("turns_accepted_total", "process_virtual_memory_bytes")}
    assert known - shown == left_out
