"""Runs: plan one, start one, wait for it or follow it, cancel it, try it again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from acclimate.learning.spec import Problem
from acclimate.spec import RECIPES
from acclimate.storage.log.barrier import start_run
from acclimate.storage.registry import audit_log, registry, runs
from acclimate.storage.registry.idempotency import Once
from acclimate.storage.registry.keys import Key
from service.auth import Scope
from service.control import documents, run_stream
from service.errors import Refusal
from service.state import ServiceState, service_state

router = APIRouter(prefix="/api/v1", tags=["runs"])
State = Annotated[ServiceState, Depends(service_state)]
Viewing = Annotated[Key, Depends(Scope("view"))]
Operating = Annotated[Key, Depends(Scope("operate"))]
LOOK_SECONDS = 0.2


class Start(BaseModel):
    """What a run is for; everything has a default."""

    model_config = ConfigDict(extra="forbid")
    reason: str | None = Field(default=None, max_length=1000)
    recipe: str | None = None
    windows: list[str] | None = Field(default=None, min_length=1, max_length=100)
    dry_run: bool = False


@router.post("/models/{name}/runs", status_code=202, operation_id="start_run")
async def start(
    name: str,
    state: State,
    key: Operating,
    body: Start | None = None,
    idempotency_key: Annotated[
        str | None,
        Header(alias="Idempotency-Key", min_length=1, max_length=128, pattern=r"^[\x20-\x7e]+$"),
    ] = None,
) -> JSONResponse:
    """Close the open window over all replicas and learn from it: every row acknowledged before this
    call is in it.

    With `dry_run` only say what would be learnt: 200, and nothing is closed or started. The same
    request under the same Idempotency-Key is answered with the run that the first one started, for
    24 hours.
    """
    body = body or Start()
    if body.recipe is not None and body.recipe not in RECIPES:
        detail = f"{body.recipe[:64]!r} is not one of {', '.join(RECIPES)}"
        raise Refusal("invalid", "the request is wrong", problems=[Problem("#/recipe", detail)])
    numbers = None if body.windows is None else [window_number(window) for window in body.windows]
    if body.dry_run:
        planning = asyncio.get_running_loop().run_in_executor(
            state.planner.thread, state.planner.plan, name, numbers
        )
        return JSONResponse(await planning)
    run_id = await run_in_threadpool(
        start_run,
        state.database,
        name,
        trigger="operator",
        actor=key.name,
        reason=body.reason,
        recipe=body.recipe,
        windows=numbers,
        once=_once(key, idempotency_key, name, body) if idempotency_key is not None else None,
    )
    return await _accepted(state, run_id)


@router.get("/runs", operation_id="list_runs")
def list_runs(
    state: State,
    key: Viewing,
    model: str | None = None,
    run_state: Annotated[str | None, Query(alias="state")] = None,
    page_size: Annotated[int, Query(ge=1, le=500)] = 50,
    page_token: str | None = None,
) -> dict[str, Any]:
    """Runs, newest first."""
    with state.database.read() as connection:
        model_id = registry.model(connection, model)["id"] if model else None
        rows = runs.page(
            connection, model_id=model_id, state=run_state, before=page_token, size=page_size + 1
        )
    token = rows[page_size - 1]["id"] if len(rows) > page_size else None
    return documents.items((documents.run(row) for row in rows[:page_size]), token)


@router.get("/runs/{run_id}", operation_id="get_run")
async def get_run(
    run_id: str, state: State, key: Viewing, wait: Annotated[float, Query(ge=0, le=60)] = 0.0
) -> dict[str, Any]:
    """One run; with `wait`, when it has ended, at the latest after so many seconds."""
    deadline = time.monotonic() + wait
    while True:
        row = await run_in_threadpool(_get, state, run_id)
        if (
            row["state"] not in runs.ACTIVE
            or time.monotonic() >= deadline
            or state.stopping.is_set()
        ):
            return documents.run(row)
        await asyncio.sleep(LOOK_SECONDS)


@router.get("/runs/{run_id}/events", operation_id="follow_run", response_class=StreamingResponse)
async def follow(
    run_id: str,
    state: State,
    key: Viewing,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> Response:
    """What becomes of the run, as server-sent events `state`, `stage`, `progress`, `gate` and
    `end`, which is the last.

    `id` is the event's sequence: Last-Event-ID goes on after it, over any replica. 204 when it has
    ended and no more follows.
    """
    after = documents.number(last_event_id or "0")
    if after is None:
        raise Refusal(
            "bad-request",
            "Last-Event-ID is not the id of an event: send the last id that came, or none",
        )
    told, ended = await run_in_threadpool(run_stream.look, state.database, run_id, after)
    if ended and not told:
        return Response(status_code=204)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    stream = run_stream.frames(state.database, run_id, after, state.stopping)
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


@router.get("/runs/{run_id}/logs", operation_id="get_run_logs", response_class=Response)
def logs(
    run_id: str, state: State, key: Viewing, attempt: Annotated[int | None, Query(ge=1)] = None
) -> Response:
    """The log lines of every attempt, or of one, as ndjson; those of a run that goes on are some
    seconds old.
    """
    attempts = _get(state, run_id)["attempt"]
    if attempt is not None and attempt > attempts:
        raise Refusal("not-found", f"the run had {attempts} attempts so far")
    wanted = range(1, attempts + 1) if attempt is None else (attempt,)
    lines = b"".join(state.run_logs.read(run_id, number) for number in wanted)
    return Response(lines, media_type="application/x-ndjson")


@router.post("/runs/{run_id}/cancel", status_code=202, operation_id="cancel_run")
def cancel(run_id: str, state: State, key: Operating) -> dict[str, Any]:
    """A queued run ends now; a running one at its next sign of life, and publishes nothing."""
    with state.database.write() as connection:
        runs.cancel(connection, run_id)
        audit_log.write(connection, actor=key.name, action="run.cancel", target=run_id)
        return documents.run(runs.get(connection, run_id))


@router.post("/runs/{run_id}/retry", status_code=202, operation_id="retry_run")
async def retry(run_id: str, state: State, key: Operating) -> JSONResponse:
    """A new run on the same windows as an ended one."""
    row = await run_in_threadpool(_get, state, run_id)
    if row["state"] in runs.ACTIVE:
        raise runs.RunActive(run_id)
    if row["trigger"] == "create" or not row["windows"]:
        new = await run_in_threadpool(_begin_again, state, row, key)
    else:
        new = await run_in_threadpool(
            start_run,
            state.database,
            row["model"],
            trigger="retry",
            actor=key.name,
            reason=f"retry of {run_id}",
            recipe=row["recipe"],
            windows=row["windows"],
        )
    return await _accepted(state, new)


def window_number(window: str) -> int:
    """The number in "w-4". Raises the 404 refusal."""
    number = documents.number(window.removeprefix("w-"))
    if number is None or not window.startswith("w-"):
        raise Refusal("not-found", f"there is no window {window[:32]!r}")
    return number


def _once(key: Key, idempotency_key: str, name: str, body: Start) -> Once:
    request = json.dumps({"model": name, **body.model_dump()}, sort_keys=True)
    fingerprint = hashlib.sha256(request.encode()).hexdigest()
    return Once(key_id=key.id, idempotency_key=idempotency_key, fingerprint=fingerprint)


def _begin_again(state: ServiceState, row: Any, key: Key) -> str:
    """Another try at version 1."""
    with state.database.write() as connection:
        registry.lock(connection, row["model_id"])
        if registry.champion(connection, row["model_id"]) is not None:
            raise Refusal("run-ended", "version 1 exists: there is nothing to try again")
        audit_log.write(
            connection, actor=key.name, action="run.start", target=row["model"], trigger="retry"
        )
        return runs.create(
            connection,
            row["model_id"],
            trigger="retry",
            reason=f"retry of {row['id']}",
            recipe=row["recipe"],
            windows=[],
            rows=None,
            data_digest=row["data_digest"],
            policy_revision=row["policy_revision"],
            gates_revision=row["gates_revision"],
            parent_version=None,
        )


async def _accepted(state: ServiceState, run_id: str) -> JSONResponse:
    await state.notifier.notify(run_id)
    row = await run_in_threadpool(_get, state, run_id)
    return JSONResponse(
        documents.run(row), 202, headers={"Location": f"/api/v1/runs/{run_id}", "Retry-After": "2"}
    )


def _get(state: ServiceState, run_id: str) -> Any:
    with state.database.read() as connection:
        return runs.get(connection, run_id)
