"""Routes about the whole service: status, keys, audit log, metrics."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field

from acclimate.storage.database import Unavailable
from acclimate.storage.registry import audit_log
from acclimate.storage.registry.keys import SCOPES
from service import learning_metrics
from service.control import documents, keys, status
from service.control.routes.parameters import AdminKey, State, ViewKey, invalid, page_after

router = APIRouter(tags=["operator"])


class NewKey(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=100)
    scopes: list[str] = Field(min_length=1, max_length=len(SCOPES))


@router.get("/api/v1/status", operation_id="get_status")
def get_status(state: State, key: ViewKey) -> dict[str, Any]:
    """The health states healthy, learning and safe, each with its reasons."""
    if state.heartbeat.silent:
        return status.without_database()
    try:
        with state.database.read() as connection:
            return status.status_of(connection)
    except Unavailable:
        return status.without_database()


@router.post("/api/v1/keys", status_code=201, operation_id="create_key")
def create_key(body: NewKey, state: State, key: AdminKey) -> JSONResponse:
    """Create a key. Its secret is in this answer only."""
    unknown = [scope for scope in body.scopes if scope not in SCOPES]
    if unknown:
        detail = f"{unknown[0][:32]!r} is not a scope; known: {', '.join(SCOPES)}"
        raise invalid("#/scopes", detail)
    new = keys.create(state.database, name=body.name, scopes=body.scopes, actor=key.name)
    return JSONResponse(new, 201)


@router.get("/api/v1/keys", operation_id="list_keys")
def list_keys(state: State, key: AdminKey) -> dict[str, Any]:
    """All keys, oldest first, without their secrets."""
    return keys.listed(state.database)


@router.delete("/api/v1/keys/{key_id}", status_code=204, operation_id="revoke_key")
def revoke_key(key_id: str, state: State, key: AdminKey) -> Response:
    """Revoke a key: at once in this replica, in other replicas within 30 seconds."""
    keys.revoke(state.database, key_id, actor=key.name)
    state.keyring.forget()
    return Response(status_code=204)


@router.get("/api/v1/audit", operation_id="list_audit")
def list_audit(
    state: State,
    key: ViewKey,
    page_size: Annotated[int, Query(ge=1, le=500)] = 50,
    page_token: str | None = None,
) -> dict[str, Any]:
    """The audit log, oldest first. The hash of each entry covers the entry before it."""
    after = page_after(page_token, first=0)
    with state.database.read() as connection:
        rows = audit_log.page(connection, after=after, size=page_size + 1)
    token = str(rows[page_size - 1]["sequence"]) if len(rows) > page_size else None
    return documents.items((documents.audit_entry(row) for row in rows[:page_size]), token)


@router.get("/api/v1/audit/verify", operation_id="verify_audit")
def verify_audit(
    state: State,
    key: ViewKey,
    expect: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$")] = None,
) -> dict[str, Any]:
    """Verify the hash chain of the audit log, and that an entry with the hash `expect` exists.

    `broken` is the first entry that does not follow from the entry before it. Store `head` outside
    the service: passed later as `expect`, it proves that no entry up to it was removed or changed.
    """
    with state.database.read() as connection:
        found = audit_log.verify(connection, expect=expect)
    return {"intact": found.broken is None and found.seen, **asdict(found)}


@router.get("/metrics", operation_id="metrics", response_class=Response)
def metrics(state: State, key: ViewKey) -> Response:
    """Prometheus text: the serving metrics of this machine's replicas, and the learning metrics
    read from the database.
    """
    text = state.metrics.text() + learning_metrics.text(state.database)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
