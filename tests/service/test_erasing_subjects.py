"""The erasure of a data subject over HTTP: only its rows are erased, and what learnt from them is
reported.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest
from running import contents, wait_for
from small_model import create, labeled

URL = "/api/v1/models/erasing"


def send(http: httpx.Client, x: np.ndarray, subject: str | None) -> str:
    reply = http.post(f"{URL}/predict", json={"rows": x.tolist(), "subject": subject})
    assert reply.status_code == 200, reply.text
    return str(reply.json()["id"])


def logged(http: httpx.Client) -> set[str]:
    reply = http.get(f"{URL}/rows", params={"page_size": 10_000})
    assert reply.status_code == 200 and "Next-Page-Token" not in reply.headers
    return {json.loads(line)["prediction_id"] for line in reply.text.splitlines()}


def erase(http: httpx.Client, subject: str) -> dict[str, Any]:
    reply = http.delete(f"{URL}/subjects/{subject}")
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def erasures(http: httpx.Client) -> list[dict[str, Any]]:
    """The entries of the audit log about erasures in the model."""
    entries = http.get("/api/v1/audit", params={"page_size": 500}).json()["items"]
    wanted = ("subject.erase", "erasing")
    return [entry for entry in entries if (entry["action"], entry["target"]) == wanted]


def test_what_a_subject_sent_is_gone_from_closed_and_open_windows_and_what_saw_it_is_told(service):
    with service.http() as http:
        create(http, "erasing")
        x = labeled(60, seed=3)[0]
        hers, his = send(http, x[:20], "ann/17 ü"), send(http, x[20:], "bob")
        label = [
            {"prediction_id": id, "row": row, "label": "low"}
            for id in (hers, his)
            for row in (0, 1)
        ]
        assert http.post(f"{URL}/feedback", json=label).json()["accepted"] == 4
        run = http.post(f"{URL}/runs", json={}).json()
        ended = wait_for(
            lambda: (
                (found := http.get(f"/api/v1/runs/{run['id']}", params={"wait": 20}).json())[
                    "ended_at"
                ]
                and found
            ),
            90,
        )
        late, plain = send(http, x[:5], "ann/17 ü"), send(http, x[:5], None)
        assert logged(http) == {hers, his, late, plain}

        expected = {"rows": 25, "versions": [ended["version"]] if ended["version"] else []}
        assert erase(http, "ann%2F17%20%C3%BC") == expected
        assert logged(http) == {his, plain}
        first = http.get(f"{URL}/windows").json()["items"][0]
        assert (first["rows"], first["rows_labelled"]) == (40, 2)
        marked = {
            item["version"]: item["saw_erased_rows"]
            for item in http.get(f"{URL}/versions").json()["items"]
        }
        assert marked == {version: version in expected["versions"] for version in marked}
        accepted = http.post(f"{URL}/feedback", json=label).json()
        assert [entry["index"] for entry in accepted["rejected"]] == [0, 1]

        again = send(http, x[:3], "ann/17 ü")
        assert logged(http) == {his, plain, again}
        assert erase(http, "ann%2F17%20%C3%BC")["rows"] == 28
        erased = erasures(http)
        assert len(erased) == 2 and "ann" not in json.dumps(erased)
    assert [
        path for path, content in contents(service.home / "store") if hers.encode() in content
    ] == []


@pytest.mark.parametrize("scope", ["predict", "operate"])
def test_erasing_needs_the_scope_admin(service, scope):
    with service.http() as http:
        key = http.post("/api/v1/keys", json={"name": "weak", "scopes": [scope]}).json()
        reply = http.delete(
            f"{URL}/subjects/ann", headers={"Authorization": f"Bearer {key['key']}"}
        )
        assert reply.status_code == 403
        assert http.delete("/api/v1/models/none-of-ours/subjects/ann").status_code == 404
