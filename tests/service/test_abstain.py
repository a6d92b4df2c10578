"""A policy with max_risk: answers with a higher risk say `abstain`, over both protocols."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest
from digits_model import create, stream
from running import wait_for

NAME = "cautious"
RISK = 0.2
pytestmark = pytest.mark.parametrize(
    "service", ["sqlite"], indirect=True
)  # what is answered is the same on both


def turned() -> Any:
    """Digits turned so far that version 1 is sure of some and unsure of others."""
    return stream()[2].x[-200:].tolist()


def answered(http: httpx.Client) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and abstain of each row."""
    reply = http.post(
        f"/api/v1/models/{NAME}/predict", json={"rows": turned(), "log": False}
    ).json()
    return tuple(
        np.array([row[name] for row in reply["predictions"]]) for name in ("confidence", "abstain")
    )  # type: ignore[return-value]


def abstained(http: httpx.Client) -> float:
    lines = http.get("/metrics").text.splitlines()
    found = [
        line
        for line in lines
        if line.startswith("acclimate_abstained_rows_total") and f'"{NAME}"' in line
    ]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def name_risk(http: httpx.Client, risk: float) -> None:
    url = f"/api/v1/models/{NAME}/policy"
    etag = http.get(url).headers["ETag"]
    assert http.put(url, json={"max_risk": risk}, headers={"If-Match": etag}).status_code == 200


@pytest.mark.slow
def test_answers_that_are_riskier_than_the_policy_allows_abstain_as_soon_as_it_says_so(service):
    with service.http() as http:
        create(http, NAME, policy=f"on_drift = false\nmax_risk = {RISK}")
        confidence, abstain = answered(http)
        assert 20 < abstain.sum() < 180
        assert (abstain == (1 - confidence > RISK)).all()
        assert abstained(http) == abstain.sum()

        tensor = {"name": "input", "shape": [200, 64], "datatype": "FP32", "data": turned()}
        body = {
            "inputs": [tensor],
            "outputs": [{"name": "abstain"}, {"name": "label"}],
            "parameters": {"log": False},
        }
        [flags, labels] = http.post(f"/v2/models/{NAME}/infer", json=body).json()["outputs"]
        assert (flags["datatype"], flags["data"]) == ("BOOL", abstain.tolist())
        assert len(labels["data"]) == 200, "the best guess is there all the same"

        name_risk(http, 0.5)
        assert wait_for(lambda: answered(http)[1].sum() < abstain.sum(), 10)
        assert (answered(http)[1] == (confidence < 0.5)).all()
        name_risk(http, 0)
        assert wait_for(lambda: not answered(http)[1].any(), 10)
