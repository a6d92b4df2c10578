"""Models: create, list, get and delete them; pause and resume learning; policy and gates."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from acclimate.learning.spec import Problem
from service.control import documents, models
from service.control.routes.parameters import (
    AdminKey,
    IfMatch,
    OperateKey,
    State,
    ViewKey,
    etag_number,
)
from service.control.uploads.registration import File, Upload, register
from service.errors import Refusal
from service.state import ServiceState

router = APIRouter(prefix="/api/v1/models", tags=["models"])


class Learning(BaseModel):
    """Whether the model learns automatically. Serving and runs that an operator starts are not
    affected.
    """

    model_config = ConfigDict(extra="forbid")
    learning: Literal["on", "paused"]
    reason: str = Field(default="", max_length=1000)


@router.post("", status_code=202, operation_id="create_model")
async def create_model(request: Request, state: State, key: AdminKey) -> Response:
    """Register a model from the multipart parts `spec` (TOML), `seed` (.npz, .parquet, .csv) and,
    if the spec names weights, `weights` (safetensors). Returns the run for version 1.
    """
    upload = await _upload(request)
    run = await run_in_threadpool(
        register,
        state.database,
        state.artifacts,
        upload,
        allowlist=state.settings.allowlist,
        actor=key.name,
    )
    await state.notifier.notify(run["id"])
    headers = {"Location": f"/api/v1/runs/{run['id']}", "Retry-After": "2"}
    return JSONResponse(run, 202, headers=headers)


@router.get("", operation_id="list_models")
def list_models(state: State, key: ViewKey) -> dict[str, Any]:
    """All models, by name."""
    return documents.items(models.all_documents(state.database))


@router.get("/{name}", operation_id="get_model")
def get_model(name: str, state: State, key: ViewKey) -> dict[str, Any]:
    """One model."""
    return models.document(state.database, name)


@router.patch("/{name}", operation_id="set_learning")
def set_learning(name: str, change: Learning, state: State, key: OperateKey) -> dict[str, Any]:
    """Pause or resume automatic learning."""
    return models.set_learning(
        state.database, name, change.learning, reason=change.reason, actor=key.name
    )


@router.delete("/{name}", status_code=204, operation_id="delete_model")
def delete_model(name: str, state: State, key: AdminKey) -> Response:
    """Delete a model with its versions, seed set, logged rows, windows, runs and labels. Its audit
    log entries stay.

    Refused while a run is active. Replicas stop answering within one second. The name can be used
    again at once.
    """
    models.delete(state, name, actor=key.name)
    return Response(status_code=204)


@router.get("/{name}/policy", operation_id="get_policy")
def get_policy(name: str, response: Response, state: State, key: ViewKey) -> dict[str, Any]:
    """The policy, and the decision limits of learning, which are read-only. The ETag is the
    policy's revision.

    `thresholds` has each limit with its unit, what it protects and where the number comes from;
    `rules` says what each rule of learning does.
    """
    return {**_settings(state, name, "policy", response), **models.read_only_policy()}


@router.get("/{name}/gates", operation_id="get_gates")
def get_gates(name: str, response: Response, state: State, key: ViewKey) -> dict[str, Any]:
    """The limits of the gates. The ETag is their revision."""
    return _settings(state, name, "gates", response)


@router.put("/{name}/policy", operation_id="set_policy")
def set_policy(
    name: str,
    change: dict[str, Any],
    response: Response,
    state: State,
    key: AdminKey,
    if_match: IfMatch = None,
) -> dict[str, Any]:
    """Replace the named settings; the others keep their values. Each change is a new revision,
    which later runs record. `thresholds` and `rules` are read-only: a document that was read may be
    sent back with them as they are.
    """
    revision, content = models.revise_settings(
        state.database,
        name,
        "policy",
        models.writable_policy(change),
        expected=etag_number(if_match),
        actor=key.name,
    )
    response.headers["ETag"] = f'"{revision}"'
    return {**content, **models.read_only_policy()}


@router.put("/{name}/gates", operation_id="set_gates")
def set_gates(
    name: str,
    change: dict[str, Any],
    response: Response,
    state: State,
    key: AdminKey,
    if_match: IfMatch = None,
) -> dict[str, Any]:
    """Replace the named limits; the others keep their values. Each change is a new revision, which
    later runs record.
    """
    revision, content = models.revise_settings(
        state.database, name, "gates", change, expected=etag_number(if_match), actor=key.name
    )
    response.headers["ETag"] = f'"{revision}"'
    return content


def _settings(
    state: ServiceState, name: str, kind: models.Kind, response: Response
) -> dict[str, Any]:
    revision, content = models.read_settings(state.database, name, kind)
    response.headers["ETag"] = f'"{revision}"'
    return content


async def _upload(request: Request) -> Upload:
    """The parts of the request. Raises the refusals 400 and 422."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refusal("bad-request", "send multipart/form-data with the parts spec and seed")
    form = await request.form(max_files=3, max_fields=3)
    spec, seed, weights = [await _file(form.get(name)) for name in ("spec", "seed", "weights")]
    if spec is not None and seed is not None:
        return Upload(spec=spec, seed=seed, weights=weights)
    missing = [name for name, part in (("spec", spec), ("seed", seed)) if part is None]
    problems = [Problem(f"#/{name}", f"the part {name!r} is missing") for name in missing]
    raise Refusal("invalid", "the request is wrong", problems=problems)


async def _file(part: Any) -> File | None:
    if part is None:
        return None
    if isinstance(part, str):
        return File(name="", data=part.encode())
    return File(name=part.filename or "", data=await part.read())
