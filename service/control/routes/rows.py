"""The log: every stored copy of a row, page by page, and the erasure of a data subject's rows."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from service.control import rows
from service.control.routes.parameters import AdminKey, State, ViewKey, invalid, window_number
from service.control.rows import Position

router = APIRouter(prefix="/api/v1/models/{name}", tags=["log"])
FIELDS = ("input", "prediction")


@router.get("/rows", operation_id="list_rows", response_class=Response)
def list_rows(
    name: str,
    state: State,
    key: ViewKey,
    window: str | None = None,
    fields: str = "",
    page_size: Annotated[int, Query(ge=1, le=10_000)] = 500,
    page_token: str | None = None,
) -> Response:
    """One line of JSON per stored copy of a row. The header Next-Page-Token is present while more
    pages follow.

    Reading all pages gives every row that was acknowledged before the first page exactly once, also
    while segments are sealed and windows close. `window` is the id of a window, or `open`; reading
    the open window continues with the same window after it closed.
    """
    wanted = {field for field in fields.split(",") if field}
    if wanted - set(FIELDS):
        raise invalid("#/fields", f"known: {', '.join(FIELDS)}")
    asked = window if window in (None, "open") else window_number(window)
    query = rows.query(state.database, name, asked)
    if page_token is None:
        position = Position(window=query.number)
        rows.seal(state.database, query)
    else:
        found = Position.of(page_token)
        if found is None:
            raise invalid("#/page_token", "is not a page token of a reply")
        position = found
        follows = window == "open" and position.window is not None
        if position.window != query.number and not follows:
            raise invalid("#/page_token", "belongs to another window")
    body, token = rows.page(
        state.database, state.segments, query, position, fields=wanted, size=page_size
    )
    headers = {"Next-Page-Token": token} if token else {}
    return Response(body, media_type="application/x-ndjson", headers=headers)


@router.delete("/subjects/{subject:path}", operation_id="erase_subject")
def erase_subject(name: str, subject: str, state: State, key: AdminKey) -> dict[str, Any]:
    """Erase every row of a data subject that was acknowledged before this request, with its labels
    and pseudo-labels.

    `rows` counts the rows erased so far; `versions` lists the versions that had learnt from a
    window or a label with one of them. A run that learns from such a window is cancelled. The
    request may take 12 s. Rows that the subject sends later are logged. Repeating the request gives
    the same answer.
    """
    return rows.erase_subject(
        state.database, state.segments, state.artifacts, name, subject, actor=key.name
    )
