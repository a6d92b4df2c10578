"""The operator's side of the whole service: lamps, keys, audit log, metrics."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import JSONResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field

from acclimate.learning.spec import Problem
from acclimate.storage.database import Unavailable
from acclimate.storage.registry import audit_log, keys
from acclimate.storage.registry.keys import SCOPES, Key
from service.auth import Scope
from service.control import documents, learning_metrics, status
from service.errors import Refusal
from service.state import ServiceState, service_state

router = APIRouter(tags=["operator"])
State = Annotated[ServiceState, Depends(service_state)]
Viewing = Annotated[Key, Depends(Scope("view"))]
Ruling = Annotated[Key, Depends(Scope("admin"))]


class NewKey(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=100)
    scopes: list[str] = Field(min_length=1, max_length=len(SCOPES))


@router.get("/api/v1/status", operation_id="get_status")
def get_status(state: State, key: Viewing) -> dict[str, Any]:
    """Is it healthy, is it learning, is it safe, each with its reasons in words."""
    if state.heartbeat.silent:
        return status.without_database()
    try:
        with state.database.read() as connection:
            return status.status_of(connection)
    except Unavailable:
        return status.without_database()


@router.post("/api/v1/keys", status_code=201, operation_id="create_key")
def create_key(body: NewKey, state: State, key: Ruling) -> JSONResponse:
    """A new key; its secret is in this answer and nowhere else."""
    unknown = [scope for scope in body.scopes if scope not in SCOPES]
    if unknown:
        detail = f"{unknown[0][:32]!r} is not a scope; known: {', '.join(SCOPES)}"
        raise Refusal("invalid", "the request is wrong", problems=[Problem("#/scopes", detail)])
    with state.database.write() as connection:
        new, secret = keys.create(connection, name=body.name, scopes=body.scopes)
        audit_log.write(
            connection,
            actor=key.name,
            action="key.create",
            target=body.name,
            id=new.id,
            scopes=sorted(body.scopes),
        )
    return JSONResponse(
        {"id": new.id, "name": new.name, "scopes": sorted(new.scopes), "key": secret}, 201
    )


@router.get("/api/v1/keys", operation_id="list_keys")
def list_keys(state: State, key: Ruling) -> dict[str, Any]:
    """All keys, oldest first, without their secrets."""
    with state.database.read() as connection:
        return documents.items(documents.key(row) for row in keys.everyone(connection))


@router.delete("/api/v1/keys/{key_id}", status_code=204, operation_id="revoke_key")
def revoke_key(key_id: str, state: State, key: Ruling) -> Response:
    """Revoke a key: here at once, in other replicas within 30 seconds."""
    with state.database.write() as connection:
        if not keys.revoke(connection, key_id):
            raise Refusal("not-found", f"there is no key {key_id[:32]!r} that works")
        audit_log.write(connection, actor=key.name, action="key.revoke", target=key_id)
    state.keyring.forget()
    return Response(status_code=204)


@router.get("/api/v1/audit", operation_id="list_audit")
def list_audit(
    state: State,
    key: Viewing,
    page_size: Annotated[int, Query(ge=1, le=500)] = 50,
    page_token: str | None = None,
) -> dict[str, Any]:
    """Who did what when, oldest first; each entry's hash covers the one before it."""
    after = documents.number(page_token, digits=15) if page_token is not None else 0
    if after is None:
        raise Refusal(
            "invalid",
            "the request is wrong",
            problems=[Problem("#/page_token", "is not one that a reply gave")],
        )
    with state.database.read() as connection:
        rows = audit_log.page(connection, after=after, size=page_size + 1)
    token = str(rows[page_size - 1]["sequence"]) if len(rows) > page_size else None
    return documents.items((documents.audit_entry(row) for row in rows[:page_size]), token)


@router.get("/api/v1/audit/verify", operation_id="verify_audit")
def verify_audit(
    state: State,
    key: Viewing,
    expect: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$")] = None,
) -> dict[str, Any]:
    """Is each entry of the audit log held by its hash, and does one have the hash that is expected?

    `broken` is the first entry that does not follow from the one before it. Keep `head` where the
    service cannot write: expected later, it proves that nothing up to it was taken away or changed.
    """
    with state.database.read() as connection:
        found = audit_log.verify(connection, expect=expect)
    return {"intact": found.broken is None and found.seen, **asdict(found)}


@router.get("/metrics", operation_id="metrics", response_class=Response)
def metrics(state: State, key: Viewing) -> Response:
    """Prometheus text: what the replicas of this machine served, and what the database says of
    learning.
    """
    text = state.metrics.text() + learning_metrics.text(state.database)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
