"""What `monitoring` asks of Prometheus is what a running Bond exports, with the right type."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
import yaml
from conftest import ROOT, Server, start

MONITORING = ROOT / "monitoring"

#: What a word in an expression may be besides a series or a label.
WORDS = {"by", "sum", "min", "max", "rate", "histogram_quantile", "max_over_time"}

ALERTS = [
    "high_connection_failure",
    "low_connection_success",
    "high_message_drop_rate",
    "high_latency",
    "queue_overflow",
    "high_error_rate",
    "redis_connection_issue",
]


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((MONITORING / "prometheus/rules.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[str]:
    document = json.loads((MONITORING / "grafana/dashboard.json").read_text())
    return [target["expr"] for panel in document["panels"] for target in panel["targets"]]


def names(expression: str) -> list[tuple[str, str]]:
    """The series of an expression, each with the word before its bracket."""
    assert all(expression.count(a) == expression.count(b) for a, b in ("()", "[]", "{}")), expression
    bare = re.sub(r"\{[^}]*\}|\[\d+m\]|\bby \([^)]*\)", "", expression)
    found = re.findall(r"(?:(\w+)\()?\s*\b([a-z_]+)\b(?!\()", bare)
    return [(function, name) for function, name in found if name not in WORDS]


def labels(expression: str) -> set[str]:
    matched = re.findall(r"[{,]\s*(\w+)\s*[=!]", expression)
    grouped = [name.strip() for names in re.findall(r"\bby \(([^)]*)\)", expression) for name in names.split(",")]
    return set(matched + grouped) - {"instance"}


def exported(text: str) -> dict[str, str]:
    return dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M))


def base(series: str, types: dict[str, str]) -> str:
    stem = re.sub(r"_(bucket|sum|count)$", "", series)
    return stem if types.get(stem) == "histogram" else series


@pytest.mark.parametrize("expression", [rule["expr"] for rule in rules()] + panels())
def test_every_series_is_exported_with_the_right_type(rest: httpx.Client, expression: str) -> None:
    text = rest.get("/ws/metrics").text
    types = exported(text)
    found = names(expression)
    assert found, expression
    for function, series in found:
        kind = types.get(base(series, types))
        assert kind, f"{series} is not exported"
        if function == "rate":
            assert kind in ("counter", "histogram"), f"rate of the {kind} {series}"
            assert kind == "counter" or series.endswith("_bucket")
        else:
            assert kind == "gauge", f"a {kind} is no level: {series}"
    for label in labels(expression):
        told = (re.search(rf'^{series}\{{[^}}]*\b{label}="', text, re.M) for _, series in found)
        assert any(told), f"no series of {expression} has the label {label}"


def test_the_rules_are_the_alerts_of_health() -> None:
    assert [rule["alert"] for rule in rules()] == ALERTS
    for rule in rules():
        expected = "medium" if rule["alert"] == "queue_overflow" else "high"
        assert rule["labels"]["severity"] == expected and rule["annotations"]["summary"]
        assert re.search(r" (>|<|==) [\d.]+$", rule["expr"]), rule["expr"]


def test_what_is_provisioned_belongs_together() -> None:
    scraped = yaml.safe_load((MONITORING / "prometheus/prometheus.yml").read_text())
    assert scraped["rule_files"] == ["rules.yml"]
    assert scraped["scrape_configs"][0]["metrics_path"] == "/ws/metrics"
    sources = yaml.safe_load((MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text())
    known = {source["uid"] for source in sources["datasources"]}
    dashboard = json.loads((MONITORING / "grafana/dashboard.json").read_text())
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == known
    assert yaml.safe_load((MONITORING / "grafana/provisioning/dashboards/bond.yml").read_text())["providers"]


def test_health_topics_and_metrics_have_the_documented_keys(server: Server, rest: httpx.Client) -> None:
    for base_url in (server.rest, server.ws.replace("ws://", "http://")):
        for root in ("", "/api/v1"):
            with httpx.Client(base_url=base_url + root, trust_env=False) as client:
                health = client.get("/ws/health").json()
                topics = client.get("/ws/topics").json()
                metrics = client.get("/ws/metrics")
            assert list(sorted(health)) == ["alerts", "statistics", "status", "timestamp"]
            assert health["status"] == "healthy" and health["alerts"] == []
            statistics = {name: set(part) for name, part in health["statistics"].items()}
            assert statistics == {
                "connections": {"total", "established", "closed", "active"},
                "topics": {"total", "subscriptions"},
                "messages": {"sent", "dropped", "queue_size", "broadcast_queue_size"},
                "performance": {"uptime_seconds", "messages_per_second"},
            }
            assert set(topics) == {"topics", "timestamp"}
            assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    published = rest.post("/v1/topics/prices.MONITORED/events", json={"events": [{"payload": {"bid": 1}}]})
    assert published.status_code == 200, published.text
    listed = {topic["topic"]: topic for topic in rest.get("/ws/topics").json()["topics"]}["prices.MONITORED"]
    assert listed.pop("last_update").endswith("Z")
    expected = {"subscriber_count": 0, "last_sequence": 1, "update_frequency": "normal"}
    assert listed == {"topic": "prices.MONITORED", **expected}


def test_a_port_of_its_own_tells_the_metrics_on_any_path(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("scraped")
    process, _ = start(directory, PROMETHEUS_PORT="0")
    try:
        url = re.search(r"metrics +(http://\S+)", (directory / "ready").read_text())
        assert url
        for path in ("/", "/metrics", "/anything/else"):
            text = httpx.get(url.group(1) + path, trust_env=False).text
            assert "websocket_connections_active 0" in text and "# TYPE bond_connections gauge" in text
    finally:
        process.terminate()
        assert process.wait(10) == 0
