"""Grafana's dashboard: every name in it is in a real scrape."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from support.generate_docs import ROOT
from support.promql import names_in

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
TARGETS = [(panel["title"], target) for panel in DASHBOARD["panels"] for target in panel["targets"]]


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=[f"{title} {target['refId']}" for title, target in TARGETS])
def test_every_name_in_a_panel_is_in_a_real_scrape(
    title: str, target: dict[str, Any], scraped: dict[str, set[str]]
) -> None:
    """Metrics, labels, and the labels of the legend; Prometheus itself adds job and instance."""
    names = names_in(target["expr"])
    assert names, title
    for metric, labels in names.items():
        assert metric in scraped
        assert labels <= scraped[metric] | {"job", "instance"}
    shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    assert shown <= {label for metric in names for label in scraped[metric]} | {"job", "instance"}


def test_panels_fit_and_each_has_what_it_is_of() -> None:
    """No two overlap; every one reads from the data source that the user chooses, and has a title of its own."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert {panel["datasource"]["uid"]} | {one["datasource"]["uid"] for one in panel["targets"]} == {
            "${datasource}"
        }
    assert len({panel["title"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_variables_are_those_that_panels_use() -> None:
    """And the metric that lists the jobs exists."""
    defined = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"]))) - {"__rate_interval"}
    assert used == defined


def test_metric_that_lists_the_jobs_is_in_a_real_scrape(scraped: dict[str, set[str]]) -> None:
    """Otherwise the dashboard is empty, whatever is scraped."""
    (query,) = (one["query"]["query"] for one in DASHBOARD["templating"]["list"] if one["name"] == "job")
    assert names_in(query).keys() <= scraped.keys()
