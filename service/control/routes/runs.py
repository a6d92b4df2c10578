"""Runs: plan, start, list, get, follow, cancel and retry them."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from acclimate.spec import RECIPES
from acclimate.storage.runs.run_start import RunRequest, start_run
from service.control import documents, run_stream, runs
from service.control.routes.parameters import (
    OperateKey,
    State,
    ViewKey,
    invalid,
    window_number,
)
from service.errors import Refusal
from service.state import ServiceState

router = APIRouter(prefix="/api/v1", tags=["runs"])
POLL_SECONDS = 0.2


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
    key: OperateKey,
    body: Start | None = None,
    idempotency_key: Annotated[
        str | None,
        Header(alias="Idempotency-Key", min_length=1, max_length=128, pattern=r"^[\x20-\x7e]+$"),
    ] = None,
) -> JSONResponse:
    """Close the open window over all replicas and start a run that learns from it. Every row
    acknowledged before this request is in the window.

    `dry_run` returns 200 with the plan: what would be learnt. Nothing is closed or started.
    Repeating the request under the same Idempotency-Key within 24 hours returns the run that the
    first request started.
    """
    body = body or Start()
    if body.recipe is not None and body.recipe not in RECIPES:
        detail = f"{body.recipe[:64]!r} is not one of {', '.join(RECIPES)}"
        raise invalid("#/recipe", detail)
    numbers = None if body.windows is None else [window_number(window) for window in body.windows]
    if body.dry_run:
        planning = asyncio.get_running_loop().run_in_executor(
            state.planner.thread, state.planner.plan, name, numbers
        )
        return JSONResponse(await planning)
    once = None
    if idempotency_key is not None:
        once = runs.once(key.id, idempotency_key, {"model": name, **body.model_dump()})
    request = RunRequest(
        model=name,
        trigger="operator",
        actor=key.name,
        reason=body.reason,
        recipe=body.recipe,
        windows=numbers,
        once=once,
    )
    run_id = await run_in_threadpool(start_run, state.database, request)
    return await _accepted(state, run_id)


@router.get("/runs", operation_id="list_runs")
def list_runs(
    state: State,
    key: ViewKey,
    model: str | None = None,
    run_state: Annotated[str | None, Query(alias="state")] = None,
    page_size: Annotated[int, Query(ge=1, le=500)] = 50,
    page_token: str | None = None,
) -> dict[str, Any]:
    """Runs, newest first."""
    return runs.listed(
        state.database, model=model, state=run_state, before=page_token, size=page_size
    )


@router.get("/runs/{run_id}", operation_id="get_run")
async def get_run(
    run_id: str, state: State, key: ViewKey, wait: Annotated[float, Query(ge=0, le=60)] = 0.0
) -> dict[str, Any]:
    """One run. With `wait`, the answer comes when the run has ended, at most that many seconds
    later.
    """
    deadline = time.monotonic() + wait
    while True:
        row = await run_in_threadpool(runs.get, state.database, run_id)
        waited = time.monotonic() >= deadline or state.stopping.is_set()
        if waited or not runs.is_active(row):
            return documents.run(row)
        await asyncio.sleep(POLL_SECONDS)


@router.get("/runs/{run_id}/events", operation_id="follow_run", response_class=StreamingResponse)
async def follow(
    run_id: str,
    state: State,
    key: ViewKey,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> Response:
    """The run's progress as server-sent events: `state`, `stage`, `progress`, `gate`, and last
    `end`.

    `id` is the event's sequence number. Last-Event-ID resumes after it, on any replica. 204 when
    the run has ended and no event follows.
    """
    after = documents.number(last_event_id or "0")
    if after is None:
        raise Refusal(
            "bad-request",
            "Last-Event-ID is not the id of an event: send the last id that came, or none",
        )
    events, ended = await run_in_threadpool(run_stream.poll, state.database, run_id, after)
    if ended and not events:
        return Response(status_code=204)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    stream = run_stream.frames(state.database, run_id, after, state.stopping)
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


@router.get("/runs/{run_id}/logs", operation_id="get_run_logs", response_class=Response)
def logs(
    run_id: str, state: State, key: ViewKey, attempt: Annotated[int | None, Query(ge=1)] = None
) -> Response:
    """The log lines of every attempt, or of one, as ndjson. Those of an active run are some seconds
    old.
    """
    lines = runs.logs(state.database, state.run_logs, run_id, attempt)
    return Response(lines, media_type="application/x-ndjson")


@router.post("/runs/{run_id}/cancel", status_code=202, operation_id="cancel_run")
def cancel(run_id: str, state: State, key: OperateKey) -> dict[str, Any]:
    """Cancel a run. A queued run ends at once, a running one at its next heartbeat; neither
    publishes a version.
    """
    return runs.cancel(state.database, run_id, actor=key.name)


@router.post("/runs/{run_id}/retry", status_code=202, operation_id="retry_run")
async def retry(run_id: str, state: State, key: OperateKey) -> JSONResponse:
    """Start a new run over the same windows as an ended one."""
    new = await run_in_threadpool(runs.retry, state.database, run_id, actor=key.name)
    return await _accepted(state, new)


async def _accepted(state: ServiceState, run_id: str) -> JSONResponse:
    await state.notifier.notify(run_id)
    row = await run_in_threadpool(runs.get, state.database, run_id)
    headers = {"Location": f"/api/v1/runs/{run_id}", "Retry-After": "2"}
    return JSONResponse(documents.run(row), 202, headers=headers)
