"""Dashboard, alerts and runbook name what there is: metrics, labels, sections, commands."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from django.core.management import get_commands
from prometheus_client import Metric

from mask_social.observability import metrics, state
from tests import cast
from tests.incentives import builders

BASE = Path(__file__).resolve().parents[2]
DASHBOARD = json.loads((BASE / "deploy/grafana/mask_social.json").read_text())
RULES = [
    rule
    for group in yaml.safe_load((BASE / "deploy/prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
SCRAPES = yaml.safe_load((BASE / "deploy/prometheus/prometheus.yml").read_text())
COMPOSE = yaml.safe_load((BASE / "docker-compose.yml").read_text())
RUNBOOK = (BASE / "docs/runbook.md").read_text()
SECTIONS = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
#: Prometheus' own.
GIVEN = {"up": {"job", "instance"}}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def panels() -> Iterator[dict[str, Any]]:
    return (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


QUERIES = [
    *((panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]),
    *((rule["alert"], rule["expr"]) for rule in RULES),
]


@pytest.fixture
def told(db: None) -> dict[str, set[str]]:
    """Return each series that a scrape can hold, with its labels."""
    cast.make_post(outcome="masked")
    builders.make_campaign()
    found = labels_of(state.StateCollector().collect())
    # Those of processes have no sample before something happens, but know their labels.
    for owner in metrics.OWN._collector_to_names:
        family: Metric = next(iter(owner.collect()))
        for suffix in SUFFIXES[family.type]:
            found[family.name + suffix] = {*owner._labelnames, *({"le"} if suffix == "_bucket" else ())}  # type: ignore[attr-defined]
    return found


def labels_of(families: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def parsed(expression: str) -> Any:
    return promql_parser.parse(expression.replace("$__rate_interval", "5m"))


def selectors(node: Any) -> Iterator[Any]:
    """Yield each series that an expression asks for."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        if (inner := getattr(node, name, None)) is not None:
            yield from selectors(inner)
    for inner in getattr(node, "args", None) or []:
        yield from selectors(inner)


def groupings(expression: str) -> Iterator[str]:
    """Yield each label that an expression groups by."""
    yield from re.findall(r"\w+", " ".join(re.findall(r"\bby\s*\(([^)]*)\)", expression)))


def test_each_query_names_metrics_and_labels_that_there_are(told: dict[str, set[str]]) -> None:
    known = told | GIVEN
    for title, expression in QUERIES:
        series = {selector.name: selector for selector in selectors(parsed(expression))}
        assert series, title
        assert series.keys() <= known.keys(), title
        for name, selector in series.items():
            assert {matcher.name for matcher in selector.matchers.matchers} <= known[name], title
        assert set(groupings(expression)) <= set().union(*(known[name] for name in series)), title


def test_a_query_for_what_is_not_there_would_be_noticed(told: dict[str, set[str]]) -> None:
    names = [selector.name for selector in selectors(parsed("rate(mask_social_verdict_total[5m]) > 1 + sum(nothing)"))]
    assert names == ["mask_social_verdict_total", "nothing"]
    assert set(names).isdisjoint(told)
    with pytest.raises(ValueError):
        parsed("rate(mask_social_verdicts_total) >")


def test_values_in_queries_are_values_that_occur() -> None:
    """A label's value that nobody ever writes makes a query that is silent for ever."""
    code = "".join(
        path.read_text() for app in ("mask_social", "moderation", "incentives") for path in (BASE / app).rglob("*.py")
    )
    for title, expression in QUERIES:
        for label, operator, text in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', expression):
            if label in ("job", "status") or operator in ("=~", "!~"):
                continue
            assert f'"{text}"' in code, (title, label, text)


def test_the_dashboard_is_one_that_grafana_can_lay_out() -> None:
    identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identifiers)) == len(identifiers)
    for panel in DASHBOARD["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert {panel["datasource"]["uid"] for panel in panels()} == {"${datasource}"}


def test_every_metric_of_ours_is_looked_at_somewhere(told: dict[str, set[str]]) -> None:
    asked = {selector.name for _, expression in QUERIES for selector in selectors(parsed(expression))}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in told}
    seen = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert families - seen == {"mask_social_campaigns"}


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    assert SECTIONS.keys() == {rule["alert"] for rule in RULES}
    for name, text in SECTIONS.items():
        assert re.findall(r"^- \*\*(\w+)\*\*: ", text, re.MULTILINE) == ["Means", "Mostly", "Run", "Safe"], name


def test_every_alert_says_how_bad_it_is_and_what_it_is() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule
        assert rule["annotations"]["summary"].endswith("."), rule


def test_every_command_of_the_runbook_exists() -> None:
    named = set(re.findall(r"manage\.py (\w+)", RUNBOOK))
    assert named >= {"prove_ledgers"}
    assert named <= get_commands().keys()
    targets = set(re.findall(r"^([a-z][a-z-]*):", (BASE / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", RUNBOOK)) <= targets
    services = set(COMPOSE["services"])
    flat = re.sub(r"\s+", " ", RUNBOOK)
    for line in re.findall(r"docker compose [^`\n]*", flat):
        for word in re.findall(r"\b(?:worker-[a-z]+|web|beat|postgres|redis)\b(?=[ =]|$)", line.partition("|")[0]):
            assert word in services, line


def test_every_panel_and_alert_that_the_runbook_names_is_there() -> None:
    titles = {panel["title"] for panel in panels()}
    for name in re.findall(
        r"(?:panel|look at) \*([^*]+)\*|^- \*\*Run\*\*: \*([^*]+)\* in Grafana", RUNBOOK, re.MULTILINE
    ):
        assert "".join(name) in titles
    assert set(re.findall(r"MaskSocial\w+", RUNBOOK)) <= SECTIONS.keys()


def test_prometheus_asks_where_the_compose_file_answers() -> None:
    token = {"type": "Bearer", "credentials_file": "/run/secrets/metrics_token"}
    asked: dict[str, int] = {}
    for job in SCRAPES["scrape_configs"]:
        assert job["authorization"] == token
        for found in job["dns_sd_configs"]:
            asked |= dict.fromkeys(found["names"], found["port"])
    services = COMPOSE["services"]
    workers = {
        name: int(service["environment"]["MASK_SOCIAL_WORKER_METRICS_PORT"])
        for name, service in services.items()
        if "MASK_SOCIAL_WORKER_METRICS_PORT" in service.get("environment", {})
    }
    assert asked == {"web": 8000} | workers
    assert set(workers) == {name for name in services if name.startswith("worker-")}
    for name in asked:
        environment = services[name]["environment"]
        assert environment["MASK_SOCIAL_METRICS_TOKEN_FILE"] == token["credentials_file"]
        folder = environment["PROMETHEUS_MULTIPROC_DIR"]
        assert any(place.startswith(f"{folder}:size=") for place in services[name]["tmpfs"])
