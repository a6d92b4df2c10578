"""The numbers move: what was served, logged, learnt and promoted stands in /metrics, and in logs
with their ids.
"""

from __future__ import annotations

import json
import shutil
import subprocess

import httpx
import pytest
from digits_model import create, learn, send, served, window
from prometheus_client.parser import text_string_to_metric_families
from running import Service, wait_for

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str, model: str | None = None) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {
                name: value for name, value in sample.labels.items() if name not in ("model", "le")
            }
            if sample.labels.get("model") in (None, model) and "le" not in sample.labels:
                found[sample.name, tuple(sorted(labels.items()))] = sample.value
    return found


@pytest.fixture(scope="module")
def scraped(service: Service) -> tuple[Samples, Samples, str]:
    """The numbers of one model before and after a window that was learnt, and the whole
    last text.
    """
    name = "numbers"
    with service.http() as http:
        create(http, name)
        send(http, name, window(1)[0][:100])
        before = samples(http.get("/metrics").text, name)
        send(http, name, window(1)[0][100:])
        http.post(f"/api/v1/models/{name}/predict", json={"rows": []})
        http.post(
            f"/api/v1/models/{name}/predict", json={"rows": window(1)[0][:2].tolist(), "log": False}
        )
        run = learn(http, name)
        assert run["promoted"], run["detail"]
        served(http, name, "2")
        text = http.get("/metrics").text
    return before, samples(text, name), text


def test_serving_counts_requests_rows_classes_and_what_became_of_them(scraped):
    before, after, _ = scraped

    def grew(name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return after.get(key, 0) - before.get(key, 0)

    assert grew("acclimate_predict_requests_total", code="200", protocol="api") >= 3
    assert grew("acclimate_predict_requests_total", code="400", protocol="api") == 1
    assert grew("acclimate_inputs_logged_total", outcome="stored") == 200
    assert grew("acclimate_inputs_logged_total", outcome="opted_out") >= 2
    assert grew("acclimate_predict_rows_total", version="1") >= 202
    assert grew("acclimate_predict_duration_seconds_count") >= 3
    assert grew("acclimate_prediction_confidence_ratio_count") >= 202
    assert (
        sum(
            value for (name, _), value in after.items() if name == "acclimate_predicted_class_total"
        )
        >= 302
    )


def test_the_swap_is_seen_in_the_info_of_the_model(scraped):
    before, after, _ = scraped
    versions = [
        dict(labels)["version"]
        for (name, labels), value in after.items()
        if name == "acclimate_model_info"
    ]
    assert versions == ["2"]
    assert [
        dict(labels)["version"] for (name, labels) in before if name == "acclimate_model_info"
    ] == ["1"]
    assert after["acclimate_model_swap_duration_seconds_count", ()] == 2


def test_learning_tells_runs_gates_drift_pseudo_labels_and_promotions(scraped):
    before, after, _ = scraped
    assert after["acclimate_runs_total", (("state", "succeeded"), ("trigger", "operator"))] == 1
    assert after["acclimate_runs_total", (("state", "failed"), ("trigger", "operator"))] == 0
    assert (
        after["acclimate_promotions_total", (("evidence", "label_free"), ("kind", "promote"))] == 1
    )
    assert before["acclimate_promotions_total", (("evidence", "none"), ("kind", "first"))] == 1
    assert after["acclimate_pseudo_labels_total", (("outcome", "accepted"),)] > 100
    assert after["acclimate_gate_limit", (("gate", "max_ece"),)] == 0.08
    assert ("acclimate_calibration_error_ratio", (("alias", "champion"),)) in after
    replay = {
        dict(labels)["class"]: value
        for (name, labels), value in after.items()
        if name == "acclimate_replay_rows"
    }
    assert set(replay) == set("0123456789")
    assert 400 < sum(replay.values()) < 897
    assert (
        before["acclimate_anchor_distance_ratio", ()]
        == 0
        < after["acclimate_anchor_distance_ratio", ()]
        < 1
    )
    detectors = {
        dict(labels)["detector"] for (name, labels) in after if name == "acclimate_drift_statistic"
    }
    assert (
        detectors
        == {
            dict(labels)["detector"]
            for (name, labels) in after
            if name == "acclimate_drift_threshold"
        }
        != set()
    )
    assert after["acclimate_run_duration_seconds_count", ()] == 2
    assert after["acclimate_learning_paused", ()] == 0


def test_every_metric_of_the_list_is_exported_by_the_running_service(scraped):
    from service.metrics import names

    exported = {line.split()[2] for line in scraped[2].splitlines() if line.startswith("# TYPE")}
    # A version that follows no running state has none to tell: tests/service/test_running_state.py
    # sees these move.
    assert {name for name in names() if "running_state" not in name} <= exported


def test_the_text_is_what_prometheus_likes(scraped):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=scraped[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_worker_counts_its_tasks_over_all_its_processes(service, scraped):
    port = service.environment["ACCLIMATE_WORKER_METRICS_PORT"]

    def counted() -> float:
        found = samples(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
        return found.get(
            ("acclimate_worker_tasks_total", (("outcome", "done"), ("task", "run"))), 0
        )

    # A run has ended for whoever waits for it a moment before its task has.
    assert wait_for(lambda: counted() >= 2, 15)
    found = samples(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
    assert found["acclimate_queue_oldest_task_age_seconds", ()] >= 0
    ticks = ("acclimate_worker_tasks_total", (("outcome", "done"), ("task", "trigger")))
    before = found.get(ticks, 0)
    wait_for(
        lambda: samples(httpx.get(f"http://127.0.0.1:{port}/metrics").text).get(ticks, 0) > before,
        15,
    )


def test_logs_are_json_with_the_ids_of_request_run_and_version_and_no_values(service, scraped):
    with service.http() as http:
        reply = http.post("/api/v1/models/numbers/predict", json={"rows": [[7.123456] * 64]})
    lines = [
        json.loads(line)
        for line in (service.home / "log" / "api-0.log").read_text().splitlines()
        if line.startswith("{")
    ]
    said = [line for line in lines if line.get("prediction") == reply.json()["id"]]
    assert len(said) == 1
    assert said[0]["request_id"] == reply.headers["x-request-id"]
    assert (said[0]["model"], said[0]["version"]) == ("numbers", "2")
    assert "7.123456" not in (service.home / "log" / "api-0.log").read_text()
    trained = [
        json.loads(line)
        for line in (service.home / "log" / "worker-0.log").read_text().splitlines()
        if line.startswith("{")
    ]
    assert any(
        line.get("event") == "run ended" and line.get("run") and line.get("version") == 2
        for line in trained
    )
