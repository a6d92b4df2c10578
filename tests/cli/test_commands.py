"""The requests that commands send, and their output."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest

MODEL = "/api/v1/models/gas"


def predictions(request: Any, answer: Any, problem: Any) -> Any:
    """As the service does: a row with 13 in it refuses the whole request."""
    rows = request.json["rows"]
    bad = [index for index, row in enumerate(rows) if 13.0 in row]
    if bad:
        places = [{"pointer": f"#/rows/{bad[0]}", "detail": "holds 13"}]
        return problem(422, "invalid", "the request is wrong", errors=places)
    found = [
        {
            "label": "no",
            "class": 0,
            "confidence": 0.75,
            "probabilities": [0.75, 0.25],
            "abstain": False,
        }
    ] * len(rows)
    return answer(200, {"id": "p1", "version": "3", "log": "os", "predictions": found})


def test_a_key_is_sent_to_its_home_only(acclimate, service, answer, tmp_path, monkeypatch):
    (tmp_path / "url").write_text(service.url + "\n")
    (tmp_path / "admin.key").write_text("acc_home\n")
    monkeypatch.setenv("ACCLIMATE_API_KEY", "acc_environment")
    service.on("GET /api/v1/keys", answer(200, {"items": [], "next_page_token": None}))
    acclimate("keys", "--home", tmp_path)
    acclimate("keys", "--url", service.url)
    sent = [request.headers["Authorization"] for request in service.requests]
    assert sent == ["Bearer acc_home", "Bearer acc_environment"]


def test_json_is_the_document_of_the_api(acclimate, service, answer):
    page = {"items": [{"id": "w-1", "state": "open", "rows": 3}], "next_page_token": None}
    service.on(f"GET {MODEL}/windows", answer(200, page))
    assert json.loads(acclimate("windows", "gas", "--json", "--url", service.url).out) == page
    assert "w-1" in acclimate("windows", "list", "gas", "--url", service.url).out


def test_predict_writes_a_line_for_each_row(acclimate, service, answer, problem, tmp_path):
    service.on(f"GET {MODEL}", answer(200, {"kind": "vector", "shape": [2]}))
    service.on(f"POST {MODEL}/predict", lambda request: predictions(request, answer, problem))
    np.save(tmp_path / "rows.npy", np.zeros((300, 2), dtype=np.float32))
    ended = acclimate("predict", "gas", tmp_path / "rows.npy", "--url", service.url)
    lines = list(csv.DictReader(io.StringIO(ended.out)))
    assert ended.code == 0
    assert [len(request.json["rows"]) for request in service.asked(f"POST {MODEL}/predict")] == [
        256,
        44,
    ]
    assert lines[299] == {
        "file_row": "299",
        "label": "no",
        "confidence": "0.75",
        "abstain": "false",
        "version": "3",
        "prediction_id": "p1",
        "row": "43",
    }


def test_predict_answers_all_but_the_bad_rows(acclimate, service, answer, problem, tmp_path):
    service.on(f"GET {MODEL}", answer(200, {"kind": "vector", "shape": [2]}))
    service.on(f"POST {MODEL}/predict", lambda request: predictions(request, answer, problem))
    (tmp_path / "rows.csv").write_text("a,b\n1,2\nx,2\n3,13\n1,nan\n5,6\n7\n")
    rejects = tmp_path / "rejects.jsonl"
    ended = acclimate(
        "predict",
        "gas",
        tmp_path / "rows.csv",
        "--rejects",
        rejects,
        "--json",
        "--url",
        service.url,
    )
    refused = {
        entry["row"]: entry["reason"] for entry in map(json.loads, rejects.read_text().splitlines())
    }
    assert ended.code == 1
    assert [json.loads(line)["file_row"] for line in ended.out.splitlines()] == [0, 4]
    assert sorted(refused) == [1, 2, 3, 5]
    assert "holds 13" in refused[2]
    assert refused[3] == "holds NaN or infinity"


def test_feedback_locates_refused_labels_in_the_file(acclimate, service, answer, tmp_path):
    service.on(
        f"POST {MODEL}/feedback",
        answer(200, {"accepted": 4999, "duplicates": 1, "rejected": []}),
        answer(
            200,
            {
                "accepted": 1,
                "duplicates": 0,
                "rejected": [{"index": 1, "reason": "unknown prediction"}],
            },
        ),
    )
    lines = [
        json.dumps({"prediction_id": "p", "row": row, "label": "ethanol"}) for row in range(5002)
    ]
    (tmp_path / "labels.jsonl").write_text("\n".join(lines))
    ended = acclimate("feedback", "gas", tmp_path / "labels.jsonl", "--json", "--url", service.url)
    assert ended.code == 1
    assert json.loads(ended.out) == {
        "accepted": 5000,
        "duplicates": 1,
        "rejected": [{"index": 5001, "reason": "unknown prediction"}],
    }
    assert service.requests[1].json[0] == {
        "prediction_id": "p",
        "row": 5000,
        "label": "ethanol",
        "source": "file",
    }


@pytest.mark.parametrize(
    ("word", "version"), [("champion", "4"), ("previous", "3"), ("latest", "10"), ("2", "2")]
)
def test_a_word_stands_for_a_version(acclimate, service, answer, word, version):
    service.on(f"GET {MODEL}", answer(200, {"champion": "4", "previous": "3"}))
    service.on(
        f"GET {MODEL}/versions",
        answer(200, {"items": [{"version": "9"}, {"version": "10"}], "next_page_token": None}),
    )
    service.on(f"GET {MODEL}/versions/{version}", answer(200, {"version": version}))
    assert json.loads(
        acclimate("versions", "show", "gas", word, "--json", "--url", service.url).out
    ) == {"version": version}


def test_a_word_for_something_that_is_not_there_is_a_conflict(acclimate, service, answer):
    service.on(f"GET {MODEL}", answer(200, {"champion": "1", "previous": None}))
    ended = acclimate("rollback", "gas", "previous", "--url", service.url)
    assert (ended.code, ended.err) == (4, "acclimate: gas has no previous\n")


def test_latest_is_the_newest_run_whatever_their_order(acclimate, service, answer):
    runs = [
        {"id": "b", "created_at": "2026-11-24T07:00:00Z"},
        {"id": "c", "created_at": "2026-11-24T06:00:00Z"},
    ]
    service.on("GET /api/v1/runs", answer(200, {"items": runs, "next_page_token": None}))
    service.on("GET /api/v1/runs/b", answer(200, {"id": "b", "state": "running"}))
    assert json.loads(acclimate("runs", "show", "--json", "--url", service.url).out)["id"] == "b"


def test_gates_are_changed_against_the_revision_that_was_seen(acclimate, service, answer):
    service.on(
        f"GET {MODEL}/gates", answer(200, {"max_ece": 0.08, "min_agreement": 0.75}, {"ETag": '"3"'})
    )
    service.on(f"PUT {MODEL}/gates", answer(200, {"max_ece": 0.05, "min_agreement": 0.75}))
    assert acclimate("gates", "gas", "--set", "max_ece=0.05", "--url", service.url).code == 0
    put = service.asked(f"PUT {MODEL}/gates")[0]
    assert (put.headers["If-Match"], put.json) == ('"3"', {"max_ece": 0.05, "min_agreement": 0.75})


def test_a_rollback_pauses_learning_unless_told_not_to(acclimate, service, answer):
    service.on(f"POST {MODEL}/rollback", answer(200, {"to": "2"}))
    acclimate("rollback", "gas", "--reason", "worse", "--url", service.url)
    acclimate("rollback", "gas", "--reason", "worse", "--keep-learning", "--url", service.url)
    assert [request.json for request in service.requests] == [
        {"reason": "worse"},
        {"reason": "worse", "pause_learning": False},
    ]


def test_the_secret_of_a_new_key_is_all_that_is_on_stdout(acclimate, service, answer):
    service.on(
        "POST /api/v1/keys",
        answer(201, {"id": "k1", "name": "ci", "scopes": ["predict"], "key": "acc_1"}),
    )
    ended = acclimate("keys", "create", "ci", "--scope", "predict,view", "--url", service.url)
    assert ended.out == "acc_1\n"
    assert service.requests[0].json == {"name": "ci", "scopes": ["predict", "view"]}


def test_the_doctor_tells_a_refused_key_from_a_silent_address(acclimate, service, answer, problem):
    service.on("GET /v2/health/live", answer(200, {"live": True}))
    service.on("GET /api/v1/status", problem(401, "unauthorized", "no such key"))
    assert acclimate("doctor", "--url", service.url).code == 5
    assert acclimate("doctor", "--url", "http://127.0.0.1:1").code == 6


def test_a_drift_effect_is_shown_with_its_threshold_and_marked_above_it(acclimate, service, answer):
    effects = {
        "input": {"value": 1.5, "threshold": 0.25, "detected": True},
        "agreement": {"value": 0.01, "threshold": 0.1},
    }
    item = {"window": "w-1", "kind": "covariate", "amount": 1.0, "effects": effects}
    service.on(f"GET {MODEL}/drift", answer(200, {"items": [item], "next_page_token": None}))
    shown = acclimate("drift", "gas", "--url", service.url).out
    assert "1.500 / 0.250 !" in shown
    assert "0.010 / 0.100" in shown
    assert shown.count("!") == 1


def test_a_plan_is_printed_and_not_followed(acclimate, service, answer):
    window = {
        "id": "w-2",
        "rows": 300,
        "rows_pseudo_labelled": 210,
        "rows_refused": 30,
        "refused": {"disagreement": 30},
    }
    plan = {
        "dry_run": True,
        "model": "gas",
        "window": window,
        "needed": 150,
        "enough": True,
        "would_learn": True,
    }
    service.on("POST /api/v1/models/gas/runs", answer(200, plan))
    ended = acclimate("retrain", "gas", "--dry-run", "--follow", "--url", service.url)
    assert ended.code == 0 and service.requests[0].json == {"dry_run": True}
    assert "would_learn  yes" in ended.out and "disagreement 30" in ended.out
    assert (
        json.loads(acclimate("retrain", "gas", "--dry-run", "--json", "--url", service.url).out)
        == plan
    )
    assert len(service.requests) == 2
