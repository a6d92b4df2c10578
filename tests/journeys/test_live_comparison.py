"""Between two runs a learner that falls behind on live rows stops answering, and learns on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from digits_model import create, learn, send, served, window
from planted_versions import plant
from running import Service, audit_log, wait_for

pytestmark = pytest.mark.slow

NAME, ROWS = "shadowed", 120


def less_sure(arrays: dict[str, Any]) -> dict[str, Any]:
    """A last layer of a third of the weight, and noise."""
    rng = np.random.default_rng(0)
    last = [key for key in arrays if key.endswith("weight") and arrays[key].shape[0] == 10]
    assert last, sorted(arrays)
    return arrays | {
        key: (0.3 * arrays[key] + 0.02 * rng.standard_normal(arrays[key].shape)).astype(np.float32)
        for key in last
    }


@pytest.fixture(scope="module")
def story(service: Service) -> dict[str, Any]:
    """A version that an operator promoted, and that is far less sure than version 1."""
    with service.http() as http:
        create(http, NAME, policy=f"on_drift = false\nwatch_rows = {ROWS}")
        x = window(1)[0]
        number = plant(service, NAME, "1", less_sure, rows=x, passed=True)
        url = f"/api/v1/models/{NAME}/aliases/champion"
        etag = http.get(url).headers["ETag"]
        body = {"version": number, "reason": "I know better", "override": True}
        assert http.put(url, json=body, headers={"If-Match": etag}).status_code == 200
        served(http, NAME, number)
        send(http, NAME, x[: ROWS // 2], size=ROWS // 2)
        early = http.get(f"/api/v1/models/{NAME}").json()
        send(http, NAME, x[ROWS // 2 : 2 * ROWS], size=ROWS)
        wait_for(lambda: http.get(f"/api/v1/models/{NAME}").json()["champion"] == "1", 90)
        served(http, NAME, "1")
        found = http.get(f"/api/v1/models/{NAME}").json()
        promotions = http.get(f"/api/v1/models/{NAME}/promotions").json()["items"]
        run = learn(http, NAME)
        after = http.get(f"/api/v1/models/{NAME}").json()
    return {
        "number": number,
        "early": early,
        "found": found,
        "promotions": promotions,
        "run": run,
        "after": after,
    }


def test_it_answers_until_enough_rows_came(story):
    assert story["early"]["champion"] == story["number"]


def test_then_the_proved_version_answers_and_learning_goes_on(story):
    found = story["found"]
    assert (found["champion"], found["learner"], found["learning"]) == ("1", story["number"], "on")


def test_the_switch_says_what_it_follows_from(service, story):
    switch = story["promotions"][-1]
    assert (switch["kind"], switch["actor"], switch["run"]) == ("switch", "watch", None)
    assert switch["comparison"]["advantage"]["value"] < -0.05
    assert switch["comparison"]["advantage"]["n"] == ROWS
    assert switch["reason"].startswith("the learner fell behind: the proved version serves; on")
    with service.http() as http:
        entry = next(each for each in audit_log(http) if each["action"] == "version.switch")
    assert (entry["actor"], entry["content"]["from"]) == ("watch", int(story["number"]))


def test_the_next_run_learns_from_the_learner_and_compares_it_with_the_proved_version(story):
    run = story["run"]
    assert run["serving"]["compared"] == story["number"]
    assert run["serving"]["serves"] == "proved" and story["after"]["champion"] == "1"
