"""Scopes over HTTP: every route requires a key with its scope."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from running import Service

from acclimate.settings import Settings
from acclimate.storage.registry.keys import IMPLIED, SCOPES
from service.app import build
from service.auth import Scope

OPEN = re.compile(r"/v2/health/(live|ready)|/openapi\.json|/docs(/oauth2-redirect)?|/redoc")
"""Whoever watches the process, or reads about the API, needs no key."""


def scopes(dependant: Any) -> set[str]:
    """The scopes that a route's dependencies ask for, however deep they stand."""
    own = {dependant.call.scope} if isinstance(dependant.call, Scope) else set()
    return own.union(*(scopes(inner) for inner in dependant.dependencies))


def routes() -> list[tuple[str, str, set[str]]]:
    """(method, path, scopes) of all routes of the app, taken from itself."""
    found = []
    waiting = list(build(Settings(home=Path("nowhere"))).routes)
    while waiting:
        route = waiting.pop(0)
        # FastAPI keeps an included router whole; none of ours is included under a further prefix.
        router = getattr(route, "original_router", None)
        if router is not None:
            waiting += router.routes
            continue
        asked = scopes(route.dependant) if isinstance(route, APIRoute) else set()
        found += [(method, route.path, asked) for method in sorted(route.methods - {"HEAD"})]
    return found


ROUTES = routes()
GUARDED = [(method, path, min(asked)) for method, path, asked in ROUTES if asked]
IDS = [f"{method} {path}" for method, path, _ in GUARDED]


@pytest.fixture(scope="module")
def secrets(service: Service) -> Iterator[dict[str, str]]:
    """For each scope the secret of a key that has every scope but those that include it."""
    made = {}
    with service.http() as http:
        for scope in SCOPES:
            others = [
                other for other in SCOPES if other != scope and scope not in IMPLIED.get(other, ())
            ]
            reply = http.post("/api/v1/keys", json={"name": f"not-{scope}", "scopes": others})
            assert reply.status_code == 201, reply.text
            made[scope] = reply.json()
        yield {scope: key["key"] for scope, key in made.items()}
        for key in made.values():
            http.delete(f"/api/v1/keys/{key['id']}")


def ask(service: Service, method: str, path: str, authorization: str | None) -> httpx.Response:
    headers = {"Authorization": authorization} if authorization is not None else {}
    return httpx.request(
        method, service.url + re.sub(r"{[^}]*}", "x", path), headers=headers, timeout=30
    )


def refused(reply: httpx.Response, status: int) -> None:
    """The refusal, in the words of the route's protocol."""
    assert reply.status_code == status, reply.text
    if reply.request.url.path.startswith("/v2"):
        assert list(reply.json()) == ["error"]
    else:
        assert reply.json()["status"] == status
    assert ("www-authenticate" in reply.headers) == (status == 401)


def test_every_route_asks_for_exactly_one_scope_or_is_open_on_purpose():
    assert len(GUARDED) > 30
    for method, path, asked in ROUTES:
        assert len(asked) == (0 if OPEN.fullmatch(path) else 1), (method, path, asked)
    assert {scope for _, _, scope in GUARDED} == set(SCOPES)


def test_what_changes_something_is_never_allowed_by_viewing():
    assert [
        (method, path) for method, path, scope in GUARDED if method != "GET" and scope == "view"
    ] == []


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/openapi.json"])
def test_what_is_open_answers_without_a_key(service, path):
    assert ask(service, "GET", path, None).status_code == 200


@pytest.mark.parametrize(("method", "path", "scope"), GUARDED, ids=IDS)
def test_a_route_refuses_missing_and_wrong_keys_and_scopes(service, secrets, method, path, scope):
    wrong = "Bearer " + "acc_" + "x" * 43
    for authorization in (
        None,
        "",
        "Bearer",
        "Bearer x",
        wrong,
        f"Basic {service.key}",
        service.key,
    ):
        refused(ask(service, method, path, authorization), 401)
    reply = ask(service, method, path, f"Bearer {secrets[scope]}")
    refused(reply, 403)
    assert scope in reply.text and secrets[scope] not in reply.text


@pytest.mark.parametrize(("method", "path", "scope"), GUARDED, ids=IDS)
def test_a_route_lets_in_who_has_its_scope(service, method, path, scope):
    with service.http() as http:
        key = http.post("/api/v1/keys", json={"name": f"only-{scope}", "scopes": [scope]}).json()
        reply = ask(service, method, path, f"bearer {key['key']}")
        assert reply.status_code not in (401, 403) and reply.status_code < 500, reply.text
        assert http.delete(f"/api/v1/keys/{key['id']}").status_code == 204


def test_a_revoked_key_is_refused_at_once_by_the_replica_that_revoked_it(service):
    with service.http() as http:
        key = http.post("/api/v1/keys", json={"name": "gone", "scopes": ["view"]}).json()
        assert ask(service, "GET", "/api/v1/status", f"Bearer {key['key']}").status_code == 200
        assert http.delete(f"/api/v1/keys/{key['id']}").status_code == 204
        refused(ask(service, "GET", "/api/v1/status", f"Bearer {key['key']}"), 401)
        assert http.delete(f"/api/v1/keys/{key['id']}").status_code == 404


def test_a_secret_is_shown_once_and_creating_it_is_on_record(service):
    with service.http() as http:
        key = http.post(
            "/api/v1/keys", json={"name": "recorded", "scopes": ["predict", "view"]}
        ).json()
        listed = http.get("/api/v1/keys").text
        assert key["id"] in listed and key["key"] not in listed
        entries = http.get("/api/v1/audit", params={"page_size": 500}).text
        assert key["id"] in entries and key["key"] not in entries
        http.delete(f"/api/v1/keys/{key['id']}")


@pytest.mark.parametrize(
    "body", [{"name": "x", "scopes": ["root"]}, {"name": "x", "scopes": []}, {"name": ""}]
)
def test_a_key_with_an_unknown_or_no_scope_is_not_made(service, body):
    with service.http() as http:
        before = http.get("/api/v1/keys").json()
        assert http.post("/api/v1/keys", json=body).status_code == 422
        assert http.get("/api/v1/keys").json() == before
