"""A student that passed its gates waits for labels before it answers, as the policy lets it."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest
from digits_model import answered, create, learn, send, served, window
from running import Service, wait_for

pytestmark = pytest.mark.slow


def model(http: httpx.Client, name: str) -> dict[str, Any]:
    return http.get(f"/api/v1/models/{name}").json()


def held(http: httpx.Client, name: str, hold: str) -> dict[str, Any]:
    """A promoted student that waits, and the promotion that holds it."""
    create(http, name, policy=f'on_drift = false\nhold_for_labels = "{hold}"')
    send(http, name, window(1)[0])
    run = learn(http, name)
    assert run["promoted"] and run["version"] == "2", run
    promotions = http.get(f"/api/v1/models/{name}/promotions").json()["items"]
    return {"run": run, "promotions": promotions, "model": model(http, name)}


def test_labels_that_lean_to_it_end_the_waiting(service: Service) -> None:
    name = "waits"
    with service.http() as http:
        found = held(http, name, "2h")
        assert (found["model"]["champion"], found["model"]["learner"]) == ("1", "2")
        kinds = [(each["kind"], each["to"]) for each in found["promotions"]]
        assert kinds == [("first", "1"), ("promote", "2"), ("switch", "1")]
        assert "waits for labels until" in found["promotions"][-1]["reason"]
        assert found["promotions"][-1]["run"] == found["run"]["id"]
        assert found["promotions"][-1]["comparison"]["held_until"].endswith("Z")
        x = window(2)[0][:200]
        (answer,) = send(http, name, x, size=len(x))
        assert answer["version"] == "1"
        labels = answered(http, name, "2", x)
        rows = np.flatnonzero(labels != answered(http, name, "1", x))[:5]
        entries = [
            {"prediction_id": answer["id"], "row": int(row), "label": int(labels[row])}
            for row in rows
        ]
        reply = http.post(f"/api/v1/models/{name}/feedback", json=entries).json()
        assert reply["accepted"] == 5
        wait_for(lambda: model(http, name)["champion"] == "2", 90)
        served(http, name, "2")
        last = http.get(f"/api/v1/models/{name}/promotions").json()["items"][-1]
    assert (last["kind"], last["actor"]) == ("switch", "watch")
    assert last["reason"].startswith("the new version waited for labels, and had 5 of 5")
