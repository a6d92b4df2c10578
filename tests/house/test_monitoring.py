"""Prometheus and Grafana: valid files, alerts seen to fire and to be silent, and no metric that the
service does not export.
"""

from __future__ import annotations

import importlib
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard
from house_rules import ROOT

PROMETHEUS = ROOT / "monitoring/prometheus"
RULES = PROMETHEUS / "rules/acclimate.yml"
RULE_TESTS = PROMETHEUS / "rules/acclimate.test.yml"
GRAFANA = ROOT / "monitoring/grafana"
DASHBOARD = GRAFANA / "dashboards/acclimate.json"
PROVISIONING = GRAFANA / "provisioning"
OPERATIONS = ROOT / "docs/operations.md"

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (it comes with Prometheus)"
)
SHOWN = (
    *(
        "predict_requests",
        "predict_duration_seconds",
        "prediction_confidence_ratio",
        "drift_statistic",
        "drift_threshold",
    ),
    *(
        "calibration_error_ratio",
        "gate_limit",
        "pseudo_labels",
        "runs",
        "runs_active",
        "model_info",
        "promotions",
    ),
    *(
        "estimated_accuracy_ratio",
        "estimated_accuracy_ratio_lower",
        "estimated_accuracy_ratio_upper",
    ),
    *("pseudo_label_class_divergence_ratio", "learning_paused", "anchor_distance_ratio"),
    "divergence_ratio",
    *(
        "running_state_distance_ratio",
        "running_state_renewals",
        "pseudo_label_error_ratio",
        "inputs_logged",
    ),
)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *map(str, arguments)], capture_output=True, text=True)


def alerts() -> list[dict[str, Any]]:
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def dashboard_expressions(board: dict[str, Any]) -> list[str]:
    """Every PromQL expression of the panels and the annotations, with Grafana's variables replaced
    as it would.
    """
    targets = [target for panel in board["panels"] for target in panel["targets"]]
    expressions = [thing["expr"] for thing in (*targets, *board["annotations"]["list"])]
    return [
        re.sub(r"\$__(rate_)?interval", "1m", expression).replace("$model", ".*")
        for expression in expressions
    ]


def recording_rules(expressions: list[str]) -> str:
    rules = [
        {"record": f"dashboard:expression{number}", "expr": text}
        for number, text in enumerate(expressions)
    ]
    return yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]})


def families(expression: str) -> set[str]:
    """The metric families that an expression names, as `family` spells them."""
    return {family(name) for name in re.findall(r"\bacclimate_[a-z_]+", expression)}


def family(name: str) -> str:
    return re.sub(r"_(total|bucket|sum|count)$", "", name)


def exported() -> set[str]:
    names: set[str] = set(importlib.import_module("service.metrics").names())
    return {family(name) for name in names}


def overlaps(panels: list[dict[str, Any]]) -> list[tuple[int, int]]:
    def apart(a: dict[str, int], b: dict[str, int]) -> bool:
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        return beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]

    pairs = itertools.combinations(panels, 2)
    return [(a["id"], b["id"]) for a, b in pairs if not apart(a["gridPos"], b["gridPos"])]


def cases() -> tuple[set[str], set[str]]:
    """The alerts that have a case in which they fire, and those that have one in which they are
    silent.
    """
    tests = [
        case
        for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    fire = {case["alertname"] for case in tests if case["exp_alerts"]}
    return fire, {case["alertname"] for case in tests if not case["exp_alerts"]}


@needs_promtool
def test_prometheus_accepts_the_configuration():
    # Syntax only: the key file exists where the service runs, not here; the rule files are checked
    # by the next tests.
    done = promtool("check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_names_rule_files_that_exist_and_keeps_the_key_in_a_file():
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    assert [PROMETHEUS / name for name in configuration["rule_files"]] == [RULES]
    api = next(job for job in configuration["scrape_configs"] if job["job_name"] == "acclimate-api")
    assert set(api["authorization"]) == {"type", "credentials_file"}


@needs_promtool
def test_prometheus_accepts_the_alerts():
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_each_alert_fires_and_is_silent_as_its_cases_say():
    done = promtool("test", "rules", RULE_TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_an_alert_with_another_threshold_fails_its_cases(tmp_path):
    (tmp_path / RULES.name).write_text(RULES.read_text().replace("> 0.02", "> 0.2"))
    shutil.copyfile(RULE_TESTS, tmp_path / RULE_TESTS.name)
    assert "ErrorBudgetBurn" in promtool("test", "rules", tmp_path / RULE_TESTS.name).stderr


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent():
    names = {alert["alert"] for alert in alerts()}
    fire, silent = cases()
    assert fire == names
    assert silent == names


def test_every_alert_says_what_happened_and_where_its_runbook_is():
    headings = re.findall(r"^## (\w+)$", OPERATIONS.read_text(), flags=re.MULTILINE)
    for alert in alerts():
        assert alert["annotations"]["summary"]
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["annotations"]["runbook_url"] == f"docs/operations.md#{alert['alert'].lower()}"
        assert alert["alert"] in headings


def test_grafana_reads_the_dashboard():
    board = Dashboard.from_json(dashboard())
    assert board.id_val is None
    assert board.uid == "acclimate-loop"
    assert [variable.name for variable in board.templating.list_val or []] == ["model"]
    assert len(board.panels or []) == 14


def test_every_panel_has_its_own_id_a_description_and_a_place_of_its_own():
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["description"] for panel in panels)
    assert overlaps(panels) == []


def test_overlapping_panels_are_noticed():
    place = {"x": 0, "y": 0, "w": 12, "h": 8}
    assert overlaps([{"id": 1, "gridPos": place}, {"id": 2, "gridPos": place | {"x": 11}}]) == [
        (1, 2)
    ]


@needs_promtool
def test_prometheus_understands_every_expression_of_the_dashboard(tmp_path):
    rules = tmp_path / "dashboard.yml"
    rules.write_text(recording_rules(dashboard_expressions(dashboard())))
    done = promtool("check", "rules", rules)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_a_missing_bracket_in_an_expression_is_noticed(tmp_path):
    rules = tmp_path / "dashboard.yml"
    rules.write_text(recording_rules(["sum by (model) (rate(acclimate_runs_total[1m])"]))
    assert promtool("check", "rules", rules).returncode != 0


def test_every_metric_that_an_alert_or_a_panel_names_is_exported():
    named = families(
        " ".join([*(alert["expr"] for alert in alerts()), *dashboard_expressions(dashboard())])
    )
    assert named - exported() == set()


def test_the_dashboard_shows_the_whole_loop():
    assert families(" ".join(dashboard_expressions(dashboard()))) == {
        f"acclimate_{name}" for name in SHOWN
    }


def test_a_metric_is_recognised_whatever_part_of_it_is_asked_for():
    asked = (
        "rate(acclimate_runs_total[1m]) / acclimate_predict_duration_seconds_bucket + "
        "acclimate_drift_statistic"
    )
    assert families(asked) == {
        "acclimate_runs",
        "acclimate_predict_duration_seconds",
        "acclimate_drift_statistic",
    }


def test_grafana_is_provisioned_with_the_data_source_that_the_dashboard_uses():
    source = yaml.safe_load((PROVISIONING / "datasources/prometheus.yml").read_text())[
        "datasources"
    ][0]
    board = dashboard()
    used = {
        thing["datasource"]["uid"]
        for panel in board["panels"]
        for thing in (panel, *panel["targets"])
    }
    assert used == {source["uid"]}
    provider = yaml.safe_load((PROVISIONING / "dashboards/acclimate.yml").read_text())["providers"][
        0
    ]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert (
        f"./monitoring/grafana/dashboards:{provider['options']['path']}:ro"
        in compose["services"]["grafana"]["volumes"]
    )
