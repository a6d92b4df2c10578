"""Contamination by one key over HTTP: its rows teach nothing, and the run names the key."""

from __future__ import annotations

import numpy as np
import pytest
from digits_model import create, learn, send, stream
from digits_model import window as turned_rows

NAME = "crowded"
HONEST, MADE = 300, 160
pytestmark = pytest.mark.parametrize(
    "service", ["sqlite"], indirect=True
)  # the log and the trainer are the same on both


@pytest.mark.slow
def test_rows_between_two_classes_from_one_key_teach_nothing_and_the_key_is_named(service):
    rng, (x, y, _) = np.random.default_rng(7), stream()
    upright = x[rng.permutation(len(x))[:HONEST]]
    eights, ones = (x[y == digit][rng.integers((y == digit).sum(), size=MADE)] for digit in (8, 1))
    between = 0.55 * eights + 0.45 * ones + rng.uniform(0, 3, size=(MADE, 64))
    with service.http() as http:
        create(http, NAME)
        pusher = http.post("/api/v1/keys", json={"name": "pusher", "scopes": ["predict"]}).json()
        send(http, NAME, upright)
        with service.http(pusher["key"]) as pushing:
            send(pushing, NAME, between)
        run = learn(http, NAME)
        window = http.get(f"/api/v1/models/{NAME}/windows").json()["items"][0]
    crowd = window["drift"]["crowd"]
    assert run["state"] == "rejected"
    assert crowd["senders"][0]["client"] == pusher["id"]
    assert crowd["senders"][0]["rows"] > 0.6 * MADE
    assert crowd["answered"] in "0123456789"
    assert not window["drift"]["effects"]["drifted"]["detected"]
    assert pusher["id"] in run["detail"]


@pytest.mark.slow
def test_rows_that_one_key_alone_sends_teach_nothing_while_all_drift(service):
    rng, (x, y, _) = np.random.default_rng(7), stream()
    turned = turned_rows(2)[0]
    eights, ones = (x[y == digit][rng.integers((y == digit).sum(), size=MADE)] for digit in (8, 1))
    ones_like_eights = 0.4 * eights + 0.6 * ones + rng.uniform(0, 2, size=(MADE, 64))
    with service.http() as http:
        create(http, "turning")
        pusher = http.post("/api/v1/keys", json={"name": "shover", "scopes": ["predict"]}).json()
        send(http, "turning", turned)
        with service.http(pusher["key"]) as pushing:
            send(pushing, "turning", ones_like_eights)
        plan = http.post("/api/v1/models/turning/runs", json={"dry_run": True}).json()
        run = learn(http, "turning")
        window = http.get("/api/v1/models/turning/windows").json()["items"][0]
    assert run["state"] == "succeeded", run["detail"]
    assert window["drift"]["effects"]["drifted"]["detected"]
    refused = run["window"]["refused"]["few_senders"]
    assert 0.6 * MADE < refused <= window["drift"]["crowd"]["few_senders"]
    assert [sender["client"] for sender in window["drift"]["crowd"]["senders"]] == [pusher["id"]]
    assert plan["window"]["refused"]["few_senders"] == pytest.approx(refused, rel=0.2)
