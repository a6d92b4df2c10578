"""Labels over HTTP: they judge a run, then they are trained on, and measure the errors of
pseudo-labels.
"""

from __future__ import annotations

import re
from typing import Any

import httpx
import numpy as np
import pytest
from digits_model import create, learn, send, window
from running import wait_for

NAME = "lessons"
pytestmark = pytest.mark.parametrize(
    "service", ["sqlite"], indirect=True
)  # what differs by database is tested in storage


def feedback(http: httpx.Client, answers: list[dict[str, Any]], y: np.ndarray, rows: range) -> None:
    entries = [
        {"prediction_id": answers[n // 100]["id"], "row": n % 100, "label": int(y[n])} for n in rows
    ]
    reply = http.post(f"/api/v1/models/{NAME}/feedback", json=entries).json()
    assert reply["accepted"] == len(rows), reply


@pytest.mark.slow
def test_labels_judge_in_the_run_of_their_window_or_the_next_and_teach_in_later_ones(service):
    with service.http() as http:
        create(http, NAME)
        x, y = window(1)
        answers = send(http, NAME, x)
        feedback(http, answers, y, range(100))
        run = learn(http, NAME)
        assert (run["window"]["rows_labelled"], run["window"]["rows_taught"]) == (100, 0)
        gates = {gate["gate"]: gate for gate in run["gates"]}
        assert gates, str(run)
        # A hundred labels prove that a student of these digits is not worse than version 1.
        assert (
            gates["audited_accuracy"]["verdict"] == "pass" and gates["audited_accuracy"]["n"] == 100
        )
        assert run["evidence"] == "audited" and not gates["agreement_with_champion"]["binds"]
        if run["promoted"]:
            told = http.get(f"/api/v1/models/{NAME}/promotions").json()["items"][-1]
            assert told["evidence"] == "audited"

        feedback(http, answers, y, range(100, 160))
        wrong = wait_for(lambda: _metric(http, "acclimate_pseudo_label_error_ratio"), 60)
        assert 0.0 <= float(wrong[0]) < 0.3

        send(http, NAME, window(2)[0])
        after = learn(http, NAME)
        assert (after["window"]["rows_labelled"], after["window"]["rows_taught"]) == (0, 100)
        gates = {gate["gate"]: gate for gate in after["gates"]}
        assert gates["audited_gain"]["n"] == 60


def _metric(http: httpx.Client, name: str) -> list[str]:
    return re.findall(rf'^{name}{{model="{NAME}"}} (\S+)$', http.get("/metrics").text, re.MULTILINE)
