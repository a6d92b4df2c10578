"""Versions: list, get and delete them; promotions, aliases, rollback, calibration."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from service.control import versions
from service.control.pages import Page
from service.control.routes.parameters import (
    AdminKey,
    IfMatch,
    OperateKey,
    PageSize,
    State,
    ViewKey,
    etag_number,
    page_after,
)
from service.errors import Refusal

router = APIRouter(prefix="/api/v1/models/{name}", tags=["history"])


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


@router.get("/versions", operation_id="list_versions")
def list_versions(
    name: str, state: State, key: ViewKey, page_size: PageSize = 500, page_token: str | None = None
) -> dict[str, Any]:
    """All versions, deleted ones included, oldest first, with parent, run, windows, gates and
    promotions.
    """
    page = Page(after=page_after(page_token), size=page_size)
    return versions.listed(state.database, name, page)


@router.get("/versions/{version}", operation_id="get_version")
def get_version(name: str, version: str, state: State, key: ViewKey) -> dict[str, Any]:
    """One version, by number or by an alias: `champion`, `previous`, `learner`, `proved` or
    `anchor`.
    """
    return versions.document(state.database, name, version)


@router.delete("/versions/{version}", status_code=204, operation_id="delete_version")
def delete_version(name: str, version: str, state: State, key: AdminKey) -> Response:
    """Delete the artifact of a version that is neither champion, previous nor anchor. Its number is
    not used again.

    From then on no replica answers with it, and it cannot be promoted. Repeating the request gives
    the same answer.
    """
    versions.delete(state, name, version, actor=key.name)
    return Response(status_code=204)


@router.get("/promotions", operation_id="list_promotions")
def list_promotions(
    name: str, state: State, key: ViewKey, page_size: PageSize = 500, page_token: str | None = None
) -> dict[str, Any]:
    """Every change of champion, oldest first."""
    page = Page(after=page_after(page_token), size=page_size)
    return versions.list_promotions(state.database, name, page)


@router.get("/aliases/{alias}", operation_id="get_alias")
def get_alias(
    name: str, alias: str, response: Response, state: State, key: ViewKey
) -> dict[str, Any]:
    """The version of the alias `champion`, `previous`, `learner`, `proved` or `anchor`. The ETag is
    the epoch.
    """
    version, epoch = versions.alias(state.database, name, alias)
    response.headers["ETag"] = f'"{epoch}"'
    return {"alias": alias, "version": version, "epoch": epoch}


@router.put("/aliases/{alias}", operation_id="set_alias")
def set_alias(
    name: str,
    alias: str,
    body: Promote,
    response: Response,
    state: State,
    key: OperateKey,
    if_match: IfMatch = None,
) -> dict[str, Any]:
    """Promote a version to champion, if the champion did not change since the ETag in If-Match. A
    version that did not pass its gates needs `override`.
    """
    if alias != "champion":
        raise Refusal("invalid", "only the alias champion can be set; the others follow it")
    version, epoch = versions.promote(
        state.database,
        name,
        body.version,
        expected=etag_number(if_match),
        override=body.override,
        reason=body.reason,
        actor=key.name,
    )
    response.headers["ETag"] = f'"{epoch}"'
    return {"alias": alias, "version": version, "epoch": epoch}


@router.post("/rollback", operation_id="roll_back")
def roll_back(name: str, body: RollBack, state: State, key: OperateKey) -> dict[str, Any]:
    """Make the previous version, or `to`, champion again. Works without broker and workers.
    Learning is paused unless `pause_learning` is false.
    """
    return versions.roll_back(
        state.database,
        name,
        to=body.to,
        pause_learning=body.pause_learning,
        reason=body.reason,
        actor=key.name,
    )


@router.get("/calibration", operation_id="get_calibration")
def get_calibration(
    name: str, state: State, key: ViewKey, page_size: PageSize = 500, page_token: str | None = None
) -> dict[str, Any]:
    """The calibration gate of every version on the judging part: the debiased error, and the raw
    error beside it.
    """
    page = Page(after=page_after(page_token), size=page_size)
    return versions.calibration(state.database, name, page)
