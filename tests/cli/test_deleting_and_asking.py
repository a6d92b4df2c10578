"""`delete` asks for confirmation, `label-queue` prints the rows."""

from __future__ import annotations

import json

MODEL = "/api/v1/models/gas"
ITEM = {
    "prediction_id": "p1",
    "row": 3,
    "version": "2",
    "label": "ethanol",
    "confidence": 0.625,
    "why": "judge",
    "value": 40.0,
    "propensity": 0.025,
    "logged_at": "2026-11-24T07:00:00.000Z",
}


def test_nothing_is_deleted_unless_somebody_says_yes(acclimate, service):
    ended = acclimate("delete", "gas", "--url", service.url)
    assert ended.code == 2 and service.requests == []
    assert "gas with all its versions" in ended.err and "--yes" in ended.err


def test_a_model_or_one_version_is_deleted(acclimate, service, answer):
    service.on(f"DELETE {MODEL}", answer(204, ""))
    service.on(f"DELETE {MODEL}/versions/3", answer(204, ""))
    assert acclimate("delete", "gas", "--yes", "--url", service.url).out.startswith(
        "deleted gas with all"
    )
    ended = acclimate("delete", "gas", "--version", "3", "--yes", "--json", "--url", service.url)
    assert (ended.code, json.loads(ended.out)) == (
        0,
        {"model": "gas", "version": "3", "deleted": True},
    )
    assert [request.path for request in service.requests] == [MODEL, f"{MODEL}/versions/3"]


def test_a_version_that_a_name_points_at_is_a_conflict(acclimate, service, problem):
    service.on(f"DELETE {MODEL}/versions/1", problem(409, "version-aliased", "version 1 is anchor"))
    ended = acclimate("delete", "gas", "--version", "1", "--yes", "--url", service.url)
    assert ended.code == 4 and "version 1 is anchor" in ended.err


def test_rows_to_label_are_a_table_or_the_document_of_the_api(acclimate, service, answer):
    document = {"items": [{**ITEM, "input": [1.0, 2.0]}], "reason": None}
    service.on(f"GET {MODEL}/label-queue", answer(200, document))
    shown = acclimate("label-queue", "gas", "--limit", 7, "--input", "--url", service.url)
    assert shown.code == 0 and shown.err == ""
    assert all(word in shown.out for word in ("p1", "ethanol", "0.025", "1.0, 2.0"))
    assert (
        json.loads(acclimate("label-queue", "gas", "--json", "--url", service.url).out) == document
    )
    assert [request.query for request in service.requests] == ["limit=7&include=input", "limit=25"]


def test_why_there_is_nothing_to_label_is_said_beside_the_table(acclimate, service, answer):
    service.on(
        f"GET {MODEL}/label-queue",
        answer(200, {"items": [], "reason": "the open window has no rows yet"}),
    )
    assert (
        acclimate("label-queue", "gas", "--url", service.url).err
        == "the open window has no rows yet\n"
    )


def test_a_subject_is_erased_and_the_versions_that_saw_it_are_told(acclimate, service, answer):
    service.on(f"DELETE {MODEL}/subjects/s-17", answer(200, {"rows": 12, "versions": ["2", "3"]}))
    ended = acclimate("delete", "gas", "--subject", "s-17", "--yes", "--url", service.url)
    assert ended.code == 0 and "12 rows so far, learnt by version 2, 3" in ended.out
    both = acclimate(
        "delete", "gas", "--subject", "s-17", "--version", "2", "--yes", "--url", service.url
    )
    assert both.code == 2 and "not both" in both.err
