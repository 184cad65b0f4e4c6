"""The dashboard, the alert rules and the pages name what is exported."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskq.contrib.metrics.figures import COUNTED, READ, Kind
from taskq.contrib.opentelemetry import attributes
from taskq.outcome import Ending

DOCS = Path(__file__).parents[2] / "docs"
FIGURES = (*COUNTED, *READ)

# By each name under which there are samples, the labels of these.
EXPORTED: Mapping[str, set[str]] = {
    name + ending: {*figure.labels, *(["le"] if ending == "_bucket" else [])}
    for figure in FIGURES
    for name in [figure.prometheus_name]
    for ending in (["_bucket", "_count", "_sum"] if figure.kind is Kind.HISTOGRAM else [""])
}

SELECTOR = re.compile(r"\b(taskq_\w+)\b(?:\{([^}]*)\})?")
GROUPED = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DOCS / "grafana.json").read_text())
    return loaded


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load((DOCS / "alerts.yaml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']}", target["expr"]
    for rule in rules():
        yield rule["alert"], rule["expr"]


@pytest.mark.parametrize(
    "expression", [pytest.param(said, id=where) for where, said in expressions()]
)
def test_each_expression_names_what_is_exported(expression: str) -> None:
    used = SELECTOR.findall(expression)
    assert used
    assert {name for name, _ in used} <= EXPORTED.keys()
    for name, selected in used:
        assert set(re.findall(r"(\w+)\s*[=!]", selected)) <= EXPORTED[name]
        for statuses in re.findall(r'status=~?"([^"]*)"', selected):
            assert set(statuses.split("|")) <= {ending.value for ending in Ending}
        if name.endswith("_total"):
            assert re.search(r"\b(rate|increase)\(", expression), "a counter begins at 0 again"
    grouped = {
        label.strip() for labels in GROUPED.findall(expression) for label in labels.split(",")
    }
    assert grouped <= set.union(*(EXPORTED[name] for name, _ in used))
    assert expression.count("(") == expression.count(")")


def test_the_dashboard_shows_every_figure_and_its_panels_do_not_overlap() -> None:
    shown = {
        name
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
        for name, _ in SELECTOR.findall(target["expr"])
    }
    for figure in FIGURES:
        assert any(name.startswith(figure.prometheus_name) for name in shown), figure.name
    places = [panel["gridPos"] for panel in dashboard()["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(ids)) == len(ids)


def test_what_the_dashboard_lets_one_choose_is_exported() -> None:
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            [(name, label)] = re.findall(r"label_values\((\w+), (\w+)\)", variable["definition"])
            assert label in EXPORTED[name]


def test_each_alert_says_what_it_is_and_what_to_do_by_labels_that_it_has() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) > 5
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        said = rule["annotations"]
        assert said["summary"]
        assert said["description"]
        used = set(re.findall(r"\$labels\.(\w+)", str(said)))
        grouped = {
            label.strip() for labels in GROUPED.findall(rule["expr"]) for label in labels.split(",")
        }
        assert used <= grouped


def test_the_page_has_each_figure_with_its_labels() -> None:
    rows = {
        name: row
        for row in (DOCS / "metrics.md").read_text().splitlines()
        if row.startswith("| `taskq_")
        for name in re.findall(r"`(taskq_\w+)`", row.split("|")[1])
    }
    assert rows.keys() == {figure.prometheus_name for figure in FIGURES}
    for figure in FIGURES:
        labels = re.findall(r"`(\w+)`", rows[figure.prometheus_name].split("|")[2])
        assert labels == list(figure.labels)
    [row] = [row for row in rows.values() if "`succeeded`" in row]
    assert set(re.findall(r"`(\w+)`", row.split("|")[3])) == {ending.value for ending in Ending}


def test_the_page_has_each_attribute_of_spans() -> None:
    page = (DOCS / "tracing.md").read_text()
    names = {value for name, value in vars(attributes).items() if name.isupper() and "." in value}
    assert len(names) > 10
    assert names <= set(re.findall(r"`([\w.]+)`", page))
