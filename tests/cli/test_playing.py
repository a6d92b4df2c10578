"""Playing a stream: predictions, labels and runs over HTTP."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from acclimate.cli import playing
from acclimate.client.errors import FileError
from acclimate.client.http import Client

MODEL = "/api/v1/models/toy"
ENDED = {
    "id": "r1",
    "model": "toy",
    "stage": "publish",
    "state": "succeeded",
    "detail": None,
    "served_at": "2026-11-24T06:00:00Z",
}


def stream_of(rows: int, windows: int) -> playing.LabeledStream:
    """Rows whose first number is their class, 0 or 1."""
    y = np.arange(rows * windows) % 2
    t = np.repeat(np.arange(windows, 0, -1), rows)
    return playing.LabeledStream(
        x=np.stack([y, t], axis=1).astype(np.float32), y=y, t=t, marks={2: "odd"}
    )


def answer_rows(service: Any, answer: Any) -> None:
    """The champion says the first number, version 1 always says 0."""
    service.on(f"GET {MODEL}", answer(200, {"champion": "5"}))

    def predict(request: Any) -> Any:
        found = [{"class": int(row[0]), "confidence": 1.0} for row in request.json["rows"]]
        return answer(
            200, {"id": f"p{len(service.requests)}", "version": "5", "predictions": found}
        )

    def infer(request: Any) -> Any:
        rows = request.json["inputs"][0]["shape"][0]
        return answer(
            200,
            {
                "outputs": [
                    {"name": "label", "data": ["no"] * rows},
                    {"name": "class", "data": [0] * rows},
                ]
            },
        )

    service.on(f"POST {MODEL}/predict", predict)
    service.on("POST /v2/models/toy/versions/1/infer", infer)


def play(service: Any, stream: playing.LabeledStream, audit: int = 0) -> list[Any]:
    with Client(service.url) as client:
        return list(
            playing.play(client, "toy", stream, audit=audit, say=lambda text, done, total: None)
        )


def test_windows_are_played_by_their_number_and_scored_against_truth_and_anchor(service, answer):
    answer_rows(service, answer)
    service.on(f"POST {MODEL}/runs", answer(202, ENDED))
    service.run(ENDED)
    first, second = play(service, stream_of(300, 2))
    assert [(window.window, window.mark) for window in (first, second)] == [(1, None), (2, "odd")]
    assert (first.rows, first.served_accuracy, first.frozen_accuracy, first.ece) == (
        300,
        1.0,
        0.5,
        0.0,
    )
    assert (first.run, first.state, first.version_after) == ("r1", "succeeded", "5")
    sent = [len(request.json["rows"]) for request in service.asked(f"POST {MODEL}/predict")]
    assert sent == [256, 44, 256, 44]


def test_the_anchor_is_asked_without_logging(service, answer):
    answer_rows(service, answer)
    service.on(f"POST {MODEL}/runs", answer(202, ENDED))
    service.run(ENDED)
    play(service, stream_of(10, 1))
    assert service.asked("POST /v2/models/toy/versions/1/infer")[0].json["parameters"] == {
        "log": False
    }


def test_too_few_rows_are_a_line_without_a_run(service, answer, problem):
    answer_rows(service, answer)
    service.on(
        f"POST {MODEL}/runs", problem(409, "not-enough-rows", "too few", rows=10, needed=150)
    )
    (window,) = play(service, stream_of(10, 1))
    assert (window.run, window.state, window.detail) == (None, None, "not enough rows: 10 of 150")


def test_an_active_run_is_waited_for_and_then_the_window_asked_for_again(service, answer, problem):
    answer_rows(service, answer)
    active = problem(409, "run-active", "learning", {"Location": "/api/v1/runs/r0"})
    service.on(f"POST {MODEL}/runs", active, answer(202, ENDED))
    service.run({"id": "r0", "state": "failed"})
    service.run(ENDED)
    (window,) = play(service, stream_of(10, 1))
    assert window.run == "r1"
    asked = [
        f"{request.method} {request.path}" for request in service.requests if "runs" in request.path
    ]
    followed = [
        [f"GET /api/v1/runs/{run}/events", f"GET /api/v1/runs/{run}"] for run in ("r0", "r1")
    ]
    assert asked == [f"POST {MODEL}/runs", *followed[0], f"POST {MODEL}/runs", *followed[1]]


def test_the_next_window_waits_until_the_new_champion_is_served(service, answer):
    answer_rows(service, answer)
    service.on(f"POST {MODEL}/runs", answer(202, ENDED))
    service.run(ENDED)
    service.on("GET /api/v1/runs/r1", answer(200, {**ENDED, "served_at": None}), answer(200, ENDED))
    play(service, stream_of(10, 1))
    assert len(service.asked("GET /api/v1/runs/r1")) == 2


def test_a_rejected_run_is_not_waited_for_to_be_served(service, answer):
    answer_rows(service, answer)
    rejected = {**ENDED, "state": "rejected", "served_at": None, "detail": "junk"}
    service.on(f"POST {MODEL}/runs", answer(202, rejected))
    service.run(rejected)
    (window,) = play(service, stream_of(10, 1))
    assert (window.state, window.detail, window.promoted) == ("rejected", "junk", False)
    assert len(service.asked("GET /api/v1/runs/r1")) == 1


def test_audit_labels_are_true_distinct_and_handed_in_before_the_run(service, answer):
    answer_rows(service, answer)
    service.on(
        f"POST {MODEL}/feedback", answer(200, {"accepted": 20, "duplicates": 0, "rejected": []})
    )
    service.on(f"POST {MODEL}/runs", answer(202, ENDED))
    service.run(ENDED)
    play(service, stream_of(300, 1), audit=20)
    order = [
        request.path.rsplit("/", 1)[-1] for request in service.requests if request.method == "POST"
    ]
    assert order[-2:] == ["feedback", "runs"]
    labels = service.asked(f"POST {MODEL}/feedback")[0].json
    assert len({(label["prediction_id"], label["row"]) for label in labels}) == 20
    assert {label["source"] for label in labels} == {"audit"}
    assert all(
        label["label"] == label["row"] % 2 for label in labels
    )  # requests start at even rows


def test_no_truth_leaves_the_player_unless_it_was_asked_to(service, answer):
    answer_rows(service, answer)
    service.on(f"POST {MODEL}/runs", answer(202, ENDED))
    service.run(ENDED)
    play(service, stream_of(10, 1))
    assert service.asked(f"POST {MODEL}/feedback") == []
    assert set(service.asked(f"POST {MODEL}/predict")[0].json) == {"rows"}


def test_marks_of_a_stream_come_back_with_their_windows(tmp_path):
    meta = np.array(json.dumps({"marks": {"4": "permuted on purpose"}}))
    np.savez(
        tmp_path / "s.npz", x=np.zeros((2, 3)), y=np.zeros(2, int), t=np.array([1, 4]), meta=meta
    )
    assert playing.read(tmp_path / "s.npz").marks == {4: "permuted on purpose"}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": [[1.0]], "t": [1]}, "lacks y"),
        ({"x": [[1.0]], "y": [0, 1], "t": [1]}, "differ in length: x 1, y 2, t 1"),
    ],
)
def test_a_file_that_is_no_stream_is_refused_with_what_it_lacks(tmp_path, arrays, words):
    np.savez(tmp_path / "s.npz", **{name: np.array(values) for name, values in arrays.items()})
    with pytest.raises(FileError, match=words):
        playing.read(tmp_path / "s.npz")


def test_play_prints_a_table_and_writes_report_and_picture(acclimate, service, answer, tmp_path):
    answer_rows(service, answer)
    service.on(f"POST {MODEL}/runs", answer(202, ENDED))
    service.run(ENDED)
    stream = stream_of(10, 2)
    np.savez(tmp_path / "s.npz", x=stream.x, y=stream.y, t=stream.t)
    ended = acclimate(
        "play",
        "toy",
        tmp_path / "s.npz",
        "--report",
        tmp_path / "out" / "r.json",
        "--url",
        service.url,
    )
    assert ended.code == 0
    assert "promotions 2, rejections 0" in ended.out
    assert (
        "window 2: 10 rows, served 100.0 %, frozen 50.0 %, run succeeded, version 5 promoted"
        in ended.err
    )
    assert json.loads((tmp_path / "out" / "r.json").read_text())["promotions"] == 2
    assert (tmp_path / "out" / "r.png").read_bytes().startswith(b"\x89PNG")
