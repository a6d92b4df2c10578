"""Models: register one with its seed set, look at it, pause and resume its learning, change its
policy and gates.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from acclimate.learning.data import SeedSet
from acclimate.learning.models import network, weights
from acclimate.learning.seed_split import split
from acclimate.learning.spec import ModelSpec, Problem
from acclimate.spec import parse, settings
from acclimate.storage.log import catalog
from acclimate.storage.registry import audit_log, deletion, registry, runs
from acclimate.storage.registry.keys import Key
from service.auth import Scope
from service.control import documents, seed_file, weights_file
from service.errors import Refusal
from service.state import ServiceState, service_state

router = APIRouter(prefix="/api/v1/models", tags=["models"])
State = Annotated[ServiceState, Depends(service_state)]
Viewing = Annotated[Key, Depends(Scope("view"))]
Operating = Annotated[Key, Depends(Scope("operate"))]
Ruling = Annotated[Key, Depends(Scope("admin"))]
IfMatch = Annotated[str | None, Header()]


class Learning(BaseModel):
    """The stop switch for learning by itself; serving goes on, and an operator's own runs
    do too.
    """

    model_config = ConfigDict(extra="forbid")
    learning: Literal["on", "paused"]
    reason: str = Field(default="", max_length=1000)


@router.post("", status_code=202, operation_id="create_model")
async def create_model(request: Request, state: State, key: Ruling) -> Response:
    """Register a model: multipart parts `spec` (TOML), `seed` (.npz, .parquet, .csv), and `weights`
    (safetensors) if the spec names some. The answer is the run for version 1.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refusal("bad-request", "send multipart/form-data with the parts spec and seed")
    form = await request.form(max_files=3, max_fields=3)
    parts = {name: await _part(form.get(name)) for name in ("spec", "seed", "weights")}
    problems = [
        Problem(f"#/{name}", f"the part {name!r} is missing")
        for name in ("spec", "seed")
        if parts[name] is None
    ]
    if problems:
        raise Refusal("invalid", "the request is wrong", problems=problems)
    run = await run_in_threadpool(_register, state, key, **parts)
    await state.notifier.notify(run["id"])
    return JSONResponse(
        run, 202, headers={"Location": f"/api/v1/runs/{run['id']}", "Retry-After": "2"}
    )


@router.get("", operation_id="list_models")
def list_models(state: State, key: Viewing) -> dict[str, Any]:
    """All models, by name."""
    with state.database.read() as connection:
        return documents.items(
            _document(connection, row) for row in registry.all_models(connection)
        )


@router.get("/{name}", operation_id="get_model")
def get_model(name: str, state: State, key: Viewing) -> dict[str, Any]:
    """One model as it stands."""
    with state.database.read() as connection:
        return _document(connection, registry.model(connection, name))


@router.patch("/{name}", operation_id="set_learning")
def set_learning(name: str, change: Learning, state: State, key: Operating) -> dict[str, Any]:
    """Pause or resume learning by triggers."""
    with state.database.write() as connection:
        row = registry.model(connection, name)
        registry.set_learning(connection, row["id"], change.learning, change.reason or None)
        audit_log.write(
            connection,
            actor=key.name,
            action=f"learning.{change.learning}",
            target=name,
            reason=change.reason,
        )
        return _document(connection, registry.model(connection, name))


@router.delete("/{name}", status_code=204, operation_id="delete_model")
def delete_model(name: str, state: State, key: Ruling) -> Response:
    """Delete a model with all that belongs to it: versions, seed set, logged rows, windows, runs,
    labels. The audit log stays.

    Refused while a run is active. Replicas stop answering within a second; the name is free at
    once.
    """
    with state.database.write() as connection:
        ran = deletion.delete_model(connection, registry.model(connection, name), actor=key.name)
    for run_id, attempts in ran:
        state.run_logs.delete(run_id, attempts)
    deletion.sweep(state.database, state.segments, state.artifacts, state.run_logs)
    return Response(status_code=204)


@router.get("/{name}/policy", operation_id="get_policy")
def get_policy(name: str, response: Response, state: State, key: Viewing) -> dict[str, Any]:
    """The policy; the ETag is its revision."""
    return _rules(name, "policy", response, state)


@router.get("/{name}/gates", operation_id="get_gates")
def get_gates(name: str, response: Response, state: State, key: Viewing) -> dict[str, Any]:
    """The limits of the gates; the ETag is their revision."""
    return _rules(name, "gates", response, state)


@router.put("/{name}/policy", operation_id="set_policy")
def set_policy(
    name: str,
    change: dict[str, Any],
    response: Response,
    state: State,
    key: Ruling,
    if_match: IfMatch = None,
) -> dict[str, Any]:
    """Replace the named settings; the others keep their values. Each change is a revision that
    later runs record.
    """
    return _revise(name, "policy", change, response, state, key, etag_number(if_match))


@router.put("/{name}/gates", operation_id="set_gates")
def set_gates(
    name: str,
    change: dict[str, Any],
    response: Response,
    state: State,
    key: Ruling,
    if_match: IfMatch = None,
) -> dict[str, Any]:
    """Replace the named limits; the others keep their values. Each change is a revision that later
    runs record.
    """
    return _revise(name, "gates", change, response, state, key, etag_number(if_match))


def etag_number(if_match: str | None) -> int:
    """The number that If-Match names. Raises 428 without one, 412 for one that no answer ever
    carried.
    """
    if if_match is None:
        raise Refusal("precondition-required", "send If-Match with the ETag of what you saw")
    number = documents.number(if_match.removeprefix("W/").strip('"'), digits=18)
    if number is None:
        raise Refusal("epoch-moved", f"{if_match[:64]!r} is not an ETag of this resource")
    return number


def _rules(name: str, kind: str, response: Response, state: ServiceState) -> dict[str, Any]:
    with state.database.read() as connection:
        revision, content = registry.revision(
            connection, registry.model(connection, name)["id"], kind
        )
    response.headers["ETag"] = f'"{revision}"'
    return content


def _revise(
    name: str,
    kind: str,
    change: dict[str, Any],
    response: Response,
    state: ServiceState,
    key: Key,
    expected: int,
) -> dict[str, Any]:
    with state.database.write() as connection:
        row = registry.model(connection, name)
        _, content = registry.revision(connection, row["id"], kind)
        changed = asdict(settings(kind, {**content, **change}))
        revision = registry.revise(
            connection, row["id"], kind, changed, actor=key.name, expected=expected
        )
        audit_log.write(
            connection,
            actor=key.name,
            action=f"{kind}.set",
            target=name,
            before=content,
            change=change,
        )
    response.headers["ETag"] = f'"{revision}"'
    return changed


async def _part(part: Any) -> tuple[str, bytes] | None:
    if part is None:
        return None
    if isinstance(part, str):
        return "", part.encode()
    return part.filename or "", await part.read()


Upload = tuple[str, bytes]
"""The file name and the bytes of one part."""


def _register(
    state: ServiceState, key: Key, *, spec: Upload, seed: Upload, weights: Upload | None
) -> dict[str, Any]:
    """Check everything, write the artifacts of seed set and weights, then model and run in one
    transaction.
    """
    try:
        text = spec[1].decode()
    except UnicodeDecodeError:
        raise Refusal(
            "invalid", "the spec is wrong", problems=[Problem("#/spec", "is not text in UTF-8")]
        ) from None
    model_spec = parse(text, network_allowlist=state.settings.allowlist)
    _check_network(state, model_spec)
    brought = _weights(state, model_spec, weights)
    x, y = seed_file.read(*seed, model_spec.input)
    seed_set = split(x, y, model_spec.input, rng=np.random.default_rng(model_spec.policy.seed))
    with state.database.read() as connection:
        if any(row["name"] == model_spec.name for row in registry.all_models(connection)):
            raise registry.ModelExists(model_spec.name)
    found = {"seed set": _arrays(seed_set), **({"weights": brought} if brought else {})}
    digests = {
        what: state.artifacts.write({"format": 1, "holds": what}, arrays)
        for what, arrays in found.items()
    }
    with state.database.write() as connection:
        run_id = _insert(connection, model_spec, digests["seed set"], digests.get("weights"), key)
        for what, digest in digests.items():
            # A deleted model may have had the same seed set. From here on no sweep takes it; one
            # before may have.
            if not state.artifacts.exists(digest):
                state.artifacts.write({"format": 1, "holds": what}, found[what])
        return documents.run(runs.get(connection, run_id))


def _check_network(state: ServiceState, model_spec: ModelSpec) -> None:
    """Make one network of a user's module now: what cannot be made shall be told here, not by a run
    that fails.
    """
    if ":" not in model_spec.network.network:
        return
    one = replace(model_spec.network, members=1)
    try:
        network.initialise(
            model_spec.input, one, rng=np.random.default_rng(0), allowlist=state.settings.allowlist
        )
    except Exception as error:  # the module is the user's and may raise anything
        problem = Problem(
            "#/model/network", str(error) if isinstance(error, network.BundleError) else repr(error)
        )
        raise Refusal("invalid", "the network cannot be made", problems=[problem]) from error


def _weights(
    state: ServiceState, model_spec: ModelSpec, part: Upload | None
) -> dict[str, Any] | None:
    """The tensors that were brought, which fit the network and are finite; None where the spec
    names none.
    """
    named = model_spec.weights_path
    if part is None and named is None:
        return None
    if part is None:
        raise weights_file.wrong(f"the part 'weights' is missing: [model] weights names {named!r}")
    if named is None:
        raise weights_file.wrong(
            "the spec names no weights: give [model] weights the name of this file"
        )
    found = weights_file.read(part[1])
    arrays = {}
    problems = weights.check(found.header, model_spec, allowlist=state.settings.allowlist)
    if not problems:
        arrays = found.arrays()
        problems = weights.finite(arrays)
    if problems:
        raise Refusal("invalid", "the weights are wrong", problems=problems)
    return arrays


def _insert(
    connection: Any, model_spec: ModelSpec, seed_digest: str, weights_digest: str | None, key: Key
) -> str:
    model_id = registry.create_model(
        connection,
        model_spec,
        seed_digest=seed_digest,
        weights_digest=weights_digest,
        actor=key.name,
    )
    run_id = runs.create(
        connection,
        model_id,
        trigger="create",
        reason=None,
        recipe=model_spec.policy.recipe,
        windows=[],
        rows=None,
        data_digest=seed_digest,
        policy_revision=1,
        gates_revision=1,
        parent_version=None,
    )
    audit_log.write(
        connection, actor=key.name, action="model.create", target=model_spec.name, run=run_id
    )
    return run_id


def _arrays(seed_set: SeedSet) -> dict[str, Any]:
    parts = {
        "train": seed_set.train,
        "calibration": seed_set.calibration,
        "judging": seed_set.judging,
    }
    return {
        f"{name}.{axis}": getattr(part, axis) for name, part in parts.items() for axis in ("x", "y")
    }


def _document(connection: Any, row: Any) -> dict[str, Any]:
    input_ = row["spec"]["input"]
    champion = registry.champion(connection, row["id"])
    active = runs.active(connection, row["id"])
    return {
        "name": row["name"],
        "kind": input_["kind"],
        "shape": input_["shape"],
        "classes": input_["classes"],
        "learning": row["learning"],
        "learning_reason": row["learning_reason"],
        "champion": documents.text(champion.to_version) if champion else None,
        # A challenger gets its number when it is judged, in the transaction that promotes or
        # rejects it.
        "challenger": None,
        "previous": documents.text(registry.previous(connection, row["id"])),
        "anchor": "1",
        "active_run": active["id"] if active else None,
        "open_window": {"rows": catalog.open_rows(connection, row["id"])},
        "replicas": [
            {
                "id": replica["replica"],
                "version": documents.text(replica["version"]),
                "epoch": replica["epoch"] or 0,
                "problem": replica["problem"],
            }
            for replica in catalog.live_replicas(connection, row["id"])
        ],
        "created_at": documents.time(row["created_at"]),
    }
