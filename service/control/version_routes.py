"""What became of the traffic and of the versions: windows, rows, versions, promotions, aliases,
rollback.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from acclimate.learning.spec import Problem
from acclimate.storage.log import catalog, erasure
from acclimate.storage.registry import audit_log, deletion, registry
from acclimate.storage.registry.keys import Key
from service.auth import Scope
from service.control import documents
from service.control.model_routes import etag_number
from service.control.run_routes import window_number
from service.errors import Refusal
from service.state import ServiceState, service_state

router = APIRouter(prefix="/api/v1/models/{name}", tags=["history"])
State = Annotated[ServiceState, Depends(service_state)]
Viewing = Annotated[Key, Depends(Scope("view"))]
Operating = Annotated[Key, Depends(Scope("operate"))]
Ruling = Annotated[Key, Depends(Scope("admin"))]
PageSize = Annotated[int, Query(ge=1, le=1000)]


class Reason(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: str | None = Field(default=None, max_length=1000)


class Promote(BaseModel):
    model_config = ConfigDict(extra="forbid")
    version: str
    reason: str = Field(min_length=1, max_length=1000)
    override: bool = False


class RollBack(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: str = Field(min_length=1, max_length=1000)
    to: str | None = None
    pause_learning: bool = True


@router.get("/windows", operation_id="list_windows")
def list_windows(
    name: str, state: State, key: Viewing, page_size: PageSize = 500, page_token: str | None = None
) -> dict[str, Any]:
    """All windows, oldest first, the open one last."""
    with state.database.read() as connection:
        model_id = registry.model(connection, name)["id"]
        rows, token = _paged(
            catalog.all_windows(connection, model_id), "number", page_size, page_token
        )
        run_ids, open_rows = (
            catalog.runs_of_windows(connection, model_id),
            catalog.open_rows(connection, model_id),
        )
    return documents.items((_window(row, open_rows, run_ids) for row in rows), token)


@router.post("/windows/{window}/quarantine", operation_id="quarantine_window")
def quarantine(
    name: str, window: str, state: State, key: Operating, body: Reason | None = None
) -> dict[str, Any]:
    """Nothing learns from this window until it is released."""
    return _set_state(state, key, name, window, "quarantined", body)


@router.post("/windows/{window}/release", operation_id="release_window")
def release(
    name: str, window: str, state: State, key: Operating, body: Reason | None = None
) -> dict[str, Any]:
    """An operator vouches for the window: runs may learn from it again."""
    return _set_state(state, key, name, window, "released", body)


@router.get("/versions", operation_id="list_versions")
def list_versions(
    name: str, state: State, key: Viewing, page_size: PageSize = 500, page_token: str | None = None
) -> dict[str, Any]:
    """All versions, oldest first, deleted ones too, with parent, run, windows, gates and
    promotions.
    """
    with state.database.read() as connection:
        model_id = registry.model(connection, name)["id"]
        rows, token = _paged(
            registry.all_versions(connection, model_id), "number", page_size, page_token
        )
        return documents.items(_versions(connection, model_id, rows), token)


@router.get("/versions/{version}", operation_id="get_version")
def get_version(name: str, version: str, state: State, key: Viewing) -> dict[str, Any]:
    """One version; `champion` and `previous` are understood."""
    with state.database.read() as connection:
        model_id = registry.model(connection, name)["id"]
        number = version_number(version, registry.aliases(connection, model_id))
        return _versions(connection, model_id, [registry.version(connection, model_id, number)])[0]


@router.delete("/versions/{version}", status_code=204, operation_id="delete_version")
def delete_version(name: str, version: str, state: State, key: Ruling) -> Response:
    """Delete the artifact of a version that is neither champion, previous nor anchor; its number
    stays taken.

    From then on no replica answers with it, and nobody can promote it. Again: the same answer.
    """
    with state.database.write() as connection:
        model = registry.model(connection, name)
        number = version_number(version, registry.aliases(connection, model["id"]))
        deletion.delete_version(connection, model, number, actor=key.name)
    deletion.sweep(state.database, state.segments, state.artifacts, state.run_logs)
    return Response(status_code=204)


@router.get("/promotions", operation_id="list_promotions")
def list_promotions(
    name: str, state: State, key: Viewing, page_size: PageSize = 500, page_token: str | None = None
) -> dict[str, Any]:
    """Every change of champion, oldest first."""
    with state.database.read() as connection:
        history = registry.history(connection, registry.model(connection, name)["id"])
    rows, token = _paged(history, "epoch", page_size, page_token)
    return documents.items((documents.promotion(row) for row in rows), token)


@router.get("/aliases/{alias}", operation_id="get_alias")
def get_alias(
    name: str, alias: str, response: Response, state: State, key: Viewing
) -> dict[str, Any]:
    """The version that `champion`, `previous` or `anchor` names; the ETag is the epoch."""
    with state.database.read() as connection:
        model_id = registry.model(connection, name)["id"]
        aliases, champion = (
            registry.aliases(connection, model_id),
            registry.champion(connection, model_id),
        )
    if aliases.get(alias) is None or champion is None:
        raise Refusal("not-found", f"the alias {alias[:32]!r} names no version")
    response.headers["ETag"] = f'"{champion.epoch}"'
    return {"alias": alias, "version": str(aliases[alias]), "epoch": champion.epoch}


@router.put("/aliases/{alias}", operation_id="set_alias")
def set_alias(
    name: str,
    alias: str,
    body: Promote,
    response: Response,
    state: State,
    key: Operating,
    if_match: Annotated[str | None, Header()] = None,
) -> dict[str, Any]:
    """Make a version champion, if nobody was first. A version that did not pass its gates needs
    `override`.
    """
    if alias != "champion":
        raise Refusal("invalid", "only the alias champion can be set; the others follow it")
    expected = etag_number(if_match)
    with state.database.write() as connection:
        model_id = registry.model(connection, name)["id"]
        number = version_number(body.version, registry.aliases(connection, model_id))
        said = {"actor": key.name, "reason": body.reason, "override": body.override}
        epoch = registry.make_champion(connection, model_id, number, expected=expected, **said)
        kind = registry.history(connection, model_id)[-1]["kind"]
        audit_log.write(
            connection,
            actor=key.name,
            action=f"version.{kind}",
            target=name,
            version=number,
            reason=body.reason,
        )
    response.headers["ETag"] = f'"{epoch}"'
    return {"alias": alias, "version": str(number), "epoch": epoch}


@router.post("/rollback", operation_id="roll_back")
def roll_back(name: str, body: RollBack, state: State, key: Operating) -> dict[str, Any]:
    """Make the previous version (or `to`) champion again, without broker or workers; learning
    pauses unless told not to.
    """
    with state.database.write() as connection:
        model_id = registry.model(connection, name)["id"]
        to = (
            version_number(body.to, registry.aliases(connection, model_id))
            if body.to is not None
            else None
        )
        epoch, version = registry.roll_back(
            connection, model_id, to=to, actor=key.name, reason=body.reason
        )
        if body.pause_learning:
            registry.set_learning(
                connection, model_id, "paused", f"rolled back to {version}: {body.reason}"
            )
        audit_log.write(
            connection,
            actor=key.name,
            action="version.rollback",
            target=name,
            version=version,
            reason=body.reason,
        )
        history = registry.history(connection, model_id)
    return next(documents.promotion(row) for row in history if row["epoch"] == epoch)


@router.get("/drift", operation_id="get_drift")
def get_drift(
    name: str, state: State, key: Viewing, page_size: PageSize = 500, page_token: str | None = None
) -> dict[str, Any]:
    """What each window's diagnosis found: kind, amount, and every effect with its threshold
    and n.
    """
    with state.database.read() as connection:
        windows = catalog.all_windows(connection, registry.model(connection, name)["id"])
    found = [row for row in windows if row["drift"] is not None]
    rows, token = _paged(found, "number", page_size, page_token)
    return documents.items(
        ({"window": documents.window_id(row["number"]), **row["drift"]} for row in rows), token
    )


@router.get("/calibration", operation_id="get_calibration")
def get_calibration(
    name: str, state: State, key: Viewing, page_size: PageSize = 500, page_token: str | None = None
) -> dict[str, Any]:
    """The calibration gate of every version, on the judging part: value is the debiased error,
    beside it the raw one.
    """
    with state.database.read() as connection:
        found = registry.all_versions(connection, registry.model(connection, name)["id"])
    rows, token = _paged(found, "number", page_size, page_token)
    kept = ("max_ece", "raw_ece")
    return documents.items(
        (
            {
                "version": str(row["number"]),
                "gates": [gate for gate in row["gates"] if gate["gate"] in kept],
            }
            for row in rows
        ),
        token,
    )


def version_number(version: str, aliases: dict[str, int | None]) -> int:
    """The number of a version or alias. Raises the 404 refusal."""
    number = aliases.get(version) or documents.number(version)
    if number is None:
        raise Refusal("not-found", f"there is no version {version[:32]!r}")
    return number


def _paged(
    rows: list[Any], name: str, size: int, token: str | None
) -> tuple[list[Any], str | None]:
    """One page of rows in the order of the number under `name`, and the token of the next."""
    after = documents.number(token, digits=15) if token is not None else -1
    if after is None:
        raise Refusal(
            "invalid",
            "the request is wrong",
            problems=[Problem("#/page_token", "is not one that a reply gave")],
        )
    rest = [row for row in rows if row[name] > after]
    return rest[:size], str(rest[size - 1][name]) if len(rest) > size else None


def _versions(connection: Any, model_id: str, rows: list[Any]) -> list[dict[str, Any]]:
    history, aliases = (
        registry.history(connection, model_id),
        registry.aliases(connection, model_id),
    )
    learnt: dict[str, list[int]] = {}
    for number, run_ids in catalog.runs_of_windows(connection, model_id).items():
        for run_id in run_ids:
            learnt.setdefault(run_id, []).append(number)
    marked = erasure.seen_by(connection, model_id)
    return [
        documents.version(
            row, history, aliases, learnt.get(row["run_id"], []), saw_erased=row["number"] in marked
        )
        for row in rows
    ]


def _window(row: Any, open_rows: int, run_ids: dict[int, list[str]]) -> dict[str, Any]:
    return documents.window(row, open_rows=open_rows, run_ids=run_ids.get(row["number"], []))


def _set_state(
    state: ServiceState, key: Key, name: str, window: str, to: str, body: Reason | None
) -> dict[str, Any]:
    reason = body.reason if body else None
    with state.database.write() as connection:
        model_id = registry.model(connection, name)["id"]
        row = catalog.set_window_state(connection, model_id, window_number(window), to)
        audit_log.write(
            connection,
            actor=key.name,
            action=f"window.{to}",
            target=name,
            window=window,
            reason=reason,
        )
        return _window(row, 0, catalog.runs_of_windows(connection, model_id))
