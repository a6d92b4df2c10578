"""The policy client_share over HTTP: it limits how many rows of a window one key teaches."""

from __future__ import annotations

import pytest
from digits_model import create, learn, send, window

NAME = "shared"
QUIET = 60
pytestmark = pytest.mark.parametrize(
    "service", ["sqlite"], indirect=True
)  # the log and the trainer are the same on both


@pytest.mark.slow
def test_a_key_teaches_no_more_than_its_share_unless_it_sends_alone(service):
    with service.http() as http:
        create(http, NAME, policy="on_drift = false\nclient_share = 0.5")
        key = http.post("/api/v1/keys", json={"name": "quiet", "scopes": ["predict"]}).json()["key"]
        x, _ = window(1)
        send(http, NAME, x[QUIET:])
        with service.http(key) as quiet:
            send(quiet, NAME, x[:QUIET])
        plan = http.post(f"/api/v1/models/{NAME}/runs", json={"dry_run": True}).json()
        run = learn(http, NAME)
        found = run["window"]
        assert 0 < found["rows_pseudo_labelled"] <= 2 * QUIET
        assert found["refused"]["client_share"] > 50
        assert found["rows_pseudo_labelled"] + sum(found["refused"].values()) <= len(x)
        assert plan["window"]["refused"] == found["refused"]

        send(http, NAME, window(2)[0])
        alone = learn(http, NAME)
        assert "client_share" not in alone["window"]["refused"]
        assert alone["window"]["rows_pseudo_labelled"] > 2 * QUIET
