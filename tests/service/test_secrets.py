"""Keys and personal data: wherever a client puts them, no log line, metric, record or answer to
others has them.

The logs of every service that tests start are held against the same words when it stops
(`running.Service.stop`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from running import CANARY, SECRET, Service, contents
from small_model import SPEC, create, labeled, post, seed_file, tensor

from acclimate.settings import Settings

NAME = "secrets"
URL = f"/api/v1/models/{NAME}"


@pytest.fixture(scope="module")
def http(service: Service) -> Iterator[httpx.Client]:
    with service.http() as http:
        create(http, NAME)
        yield http


def test_what_clients_send_stands_in_no_log_metric_record_or_error(service, http):
    good = {"rows": labeled(2)[0].tolist()}
    answers = [
        http.post(f"{URL}/predict", json={"rows": [[1, 2, 3, CANARY]]}),
        http.post(f"{URL}/predict", json={"rows": CANARY}),
        http.post(f"{URL}/predict", content=f'{{"rows": [["{CANARY}'.encode()),
        http.post(f"{URL}/predict", json={**good, "log": CANARY}),
        http.post(f"{URL}/predict", json={**good, "subject": CANARY}),
        http.post(f"/v2/models/{NAME}/infer", json=tensor(data=[CANARY])),
        http.post(f"/v2/models/{NAME}/infer", json=tensor(datatype=CANARY)),
        http.post(f"{URL}/feedback", json=[{"prediction_id": "p", "row": 0, "label": CANARY}]),
        http.get(f"{URL}/rows", params={"page_token": CANARY}),
        http.get("/api/v1/runs", params={"state": CANARY}),
        post(http, SPEC.format(name="bad"), f"a,y\n{CANARY},low\n".encode(), "seed.csv"),
        post(http, SPEC.format(name="bad"), seed_file()[:100] + CANARY.encode(), "seed.npz"),
        httpx.post(
            service.url + f"{URL}/predict", json=good, headers={"Authorization": f"Bearer {CANARY}"}
        ),
        http.delete(f"{URL}/subjects/{CANARY}"),
    ]
    assert max(answer.status_code for answer in answers) < 500
    # A client is told what it sent where that helps it: the name of an unknown class or state,
    # never a value of a row.
    telling = [answer.request.url.path for answer in answers if CANARY in answer.text]
    assert set(telling) <= {f"{URL}/feedback", "/api/v1/runs"}, telling
    others = [
        http.get(path).text
        for path in ("/metrics", "/api/v1/status", "/api/v1/audit?page_size=500", "/api/v1/runs")
    ]
    assert not any(CANARY in text for text in others)
    service.hold_logs_against_secrets()


def test_a_key_is_told_once_and_stands_nowhere_else(service, http):
    made = http.post("/api/v1/keys", json={"name": "told once", "scopes": ["view"]}).json()
    assert SECRET.fullmatch(made["key"])
    listed = (
        json.dumps(http.get("/api/v1/keys").json()) + http.get("/api/v1/audit?page_size=500").text
    )
    assert made["key"] not in listed and SECRET.search(listed) is None
    held = [path for path, content in contents(service.home) if made["key"].encode() in content]
    assert held == []


def test_the_settings_do_not_tell_passwords_when_they_are_printed(monkeypatch):
    monkeypatch.setenv("ACCLIMATE_DATABASE_URL", f"postgresql://me:{CANARY}@host/name")
    monkeypatch.setenv("ACCLIMATE_BROKER_URL", f"redis://:{CANARY}@host/0")
    settings = Settings()
    assert CANARY not in f"{settings!r} {settings}"
    assert CANARY in settings.database_address and CANARY in settings.broker_address
