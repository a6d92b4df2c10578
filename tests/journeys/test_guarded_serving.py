"""A student that passed every label-free gate is refuted by seven answers while learning goes on,
and a later one is proved by ten.
"""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest
from digits_model import answered, create, learn, send, served, window
from running import Service, wait_for

pytestmark = pytest.mark.slow

NAME = "guarded"


def judges(http: httpx.Client, count: int) -> list[dict[str, Any]]:
    """Rows of the open window that judge: on which the versions that could serve differ."""
    query = {"limit": 2 * count, "include": "input"}
    items = http.get(f"/api/v1/models/{NAME}/label-queue", params=query).json()["items"]
    found = [item for item in items if item["why"] == "judge"][:count]
    assert len(found) == count
    return found


def labels_as(http: httpx.Client, version: str, items: list[dict[str, Any]]) -> None:
    """Label the rows as this version answers them: it is right where another one differs."""
    labels = answered(
        http, NAME, version, np.array([item["input"] for item in items], dtype=np.float32)
    )
    entries = [
        {"prediction_id": item["prediction_id"], "row": item["row"], "label": int(label)}
        for item, label in zip(items, labels, strict=True)
    ]
    reply = http.post(f"/api/v1/models/{NAME}/feedback", json=entries).json()
    assert reply["accepted"] == len(items), reply


def differing(http: httpx.Client, proved: str, x: np.ndarray) -> list[dict[str, Any]]:
    """Rows, sent now, to which version 1 and the proved version give another label."""
    ids = [answer["id"] for answer in send(http, NAME, x, size=len(x))]
    rows = np.flatnonzero(answered(http, NAME, "1", x) != answered(http, NAME, proved, x))
    return [{"prediction_id": ids[0], "row": int(row), "input": x[row].tolist()} for row in rows]


def model(http: httpx.Client) -> dict[str, Any]:
    return http.get(f"/api/v1/models/{NAME}").json()


@pytest.fixture(scope="module")
def story(service: Service) -> dict[str, Any]:
    """What the model looked like after each of three windows, and the runs over them."""
    with service.http() as http:
        create(http, NAME)
        send(http, NAME, window(1)[0])
        told: dict[str, Any] = {"harmful": learn(http, NAME), "serving": model(http)}
        send(http, NAME, window(2)[0])
        labels_as(http, "1", judges(http, 7))
        wait_for(lambda: model(http)["champion"] == "1", 90)  # before any run
        served(http, NAME, "1")
        told["at_once"] = model(http)
        told |= {"refuting": learn(http, NAME), "refuted": model(http)}
        told["answers"] = send(http, NAME, window(3)[0])
        labels_as(http, told["refuted"]["learner"], judges(http, 10))
        told |= {"proving": learn(http, NAME), "proved": model(http)}
        told["again"] = differing(http, told["proved"]["proved"], window(3)[0][:200])[:7]
        labels_as(http, "1", told["again"])
        told |= {"withdrawing": learn(http, NAME), "withdrawn": model(http)}
        told["promotions"] = http.get(f"/api/v1/models/{NAME}/promotions").json()["items"]
        return told


def test_a_student_that_passed_the_label_free_gates_serves(story):
    assert story["harmful"]["promoted"] and story["harmful"]["evidence"] == "label_free"
    assert (story["serving"]["champion"], story["serving"]["learner"]) == ("2", "2")
    assert story["serving"]["proved"] == "1"


def test_seven_answers_refute_it_at_once_and_learning_goes_on(story):
    at_once = story["at_once"]
    assert (at_once["champion"], at_once["learner"], at_once["learning"]) == ("1", "2", "on")
    assert story["refuting"]["serving"]["refutes"]
    after = story["refuted"]
    assert (after["champion"], after["proved"], after["learning"]) == ("1", "1", "on")
    # Its labels also judge the next student: the gates may refuse that one.
    went_on = story["refuting"]["version"] if story["refuting"]["promoted"] else "2"
    assert after["learner"] == went_on
    assert {answer["version"] for answer in story["answers"]} == {"1"}


def test_the_switch_is_in_the_history_with_its_comparison(story):
    switch = next(each for each in story["promotions"] if each["kind"] == "switch")
    assert (switch["to"], switch["actor"]) == ("1", "watch")
    assert switch["run"] is None and "labels refute the learner" in switch["reason"]
    assert switch["comparison"]["divergence"]["value"] > 0
    assert switch["served_at"] is not None


def test_ten_answers_prove_a_later_one_and_its_line_serves(story):
    assert story["proving"]["serving"]["proves"]
    after = story["proved"]
    assert after["proved"] == story["refuted"]["learner"]
    assert after["champion"] == after["learner"]


def test_labels_that_version_1_alone_has_right_withdraw_the_proof(story):
    assert len(story["again"]) == 7
    assert story["withdrawing"]["serving"]["withdraws"]
    assert story["withdrawn"]["proved"] == "1"
