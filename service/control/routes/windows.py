"""Windows: list them with their drift, quarantine and release them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from service.control import windows
from service.control.pages import Page
from service.control.routes.parameters import (
    OperateKey,
    PageSize,
    State,
    ViewKey,
    page_after,
    window_number,
)

router = APIRouter(prefix="/api/v1/models/{name}", tags=["history"])


class Reason(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: str | None = Field(default=None, max_length=1000)


@router.get("/windows", operation_id="list_windows")
def list_windows(
    name: str, state: State, key: ViewKey, page_size: PageSize = 500, page_token: str | None = None
) -> dict[str, Any]:
    """All windows, oldest first; the open window is last."""
    page = Page(after=page_after(page_token), size=page_size)
    return windows.listed(state.database, name, page)


@router.post("/windows/{window}/quarantine", operation_id="quarantine_window")
def quarantine(
    name: str, window: str, state: State, key: OperateKey, body: Reason | None = None
) -> dict[str, Any]:
    """Exclude a closed window from learning until it is released."""
    return windows.set_state(
        state.database,
        name,
        window_number(window),
        "quarantined",
        reason=body.reason if body else None,
        actor=key.name,
    )


@router.post("/windows/{window}/release", operation_id="release_window")
def release(
    name: str, window: str, state: State, key: OperateKey, body: Reason | None = None
) -> dict[str, Any]:
    """Release a quarantined window: runs may learn from it again."""
    return windows.set_state(
        state.database,
        name,
        window_number(window),
        "released",
        reason=body.reason if body else None,
        actor=key.name,
    )


@router.get("/drift", operation_id="get_drift")
def get_drift(
    name: str, state: State, key: ViewKey, page_size: PageSize = 500, page_token: str | None = None
) -> dict[str, Any]:
    """The drift diagnosis of each window: kind, amount, and every effect with its threshold and
    number of rows.
    """
    page = Page(after=page_after(page_token), size=page_size)
    return windows.drift(state.database, name, page)
