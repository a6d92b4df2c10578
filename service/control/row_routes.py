"""The log as users see it: every stored copy of a row, page by page; and the erasing of those of a
data subject.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Response

from acclimate.learning.spec import Problem
from acclimate.storage.log import barrier, catalog, erasure
from acclimate.storage.log.logged_rows import LoggedRows
from acclimate.storage.log.segments import SegmentDamaged
from acclimate.storage.registry import registry
from acclimate.storage.registry.keys import Key
from acclimate.storage.store import StoreError
from service.auth import Scope
from service.control import documents
from service.control.run_routes import window_number
from service.errors import Refusal
from service.state import ServiceState, service_state

router = APIRouter(prefix="/api/v1/models/{name}", tags=["log"])
State = Annotated[ServiceState, Depends(service_state)]
Viewing = Annotated[Key, Depends(Scope("view"))]
Ruling = Annotated[Key, Depends(Scope("admin"))]
SEAL_SECONDS = 4.0
"""A replica that does not answer is waited for so long; its rows come when it is back."""
TOKEN = re.compile(r"(all|[0-9]{1,9})-([0-9a-f]{16})-([0-9A-Z]{26})-([0-9]{1,12})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a walk goes on: behind `row` rows of a segment, which had its place by time of
    registration.

    `window` is the number of the one window that is walked; a window keeps it when it closes.
    """

    window: int | None = None
    registered_at: float = 0.0
    segment: str = ""
    row: int = 0

    @property
    def token(self) -> str:
        window = "all" if self.window is None else str(self.window)
        return "-".join(
            (window, struct.pack(">d", self.registered_at).hex(), self.segment, str(self.row))
        )

    @staticmethod
    def of(token: str) -> Place:
        """The inverse of `token`. Raises the 422 refusal."""
        found = TOKEN.fullmatch(token)
        if found is None:
            raise _wrong("page_token", "is not one that a reply gave")
        window, at, segment, row = found.groups()
        number = None if window == "all" else int(window)
        registered_at = struct.unpack(">d", bytes.fromhex(at))[0]
        return Place(window=number, registered_at=registered_at, segment=segment, row=int(row))


@router.get("/rows", operation_id="list_rows", response_class=Response)
def list_rows(
    name: str,
    state: State,
    key: Viewing,
    window: str | None = None,
    fields: str = "",
    page_size: Annotated[int, Query(ge=1, le=10_000)] = 500,
    page_token: str | None = None,
) -> Response:
    """One line of JSON per stored copy of a row; the header Next-Page-Token is there while more
    follow.

    A walk from page to page gives every row that was acknowledged before its first page exactly
    once, also while segments are sealed and windows close. `window` is the id of one, or `open`,
    which goes on with that window when it closes.
    """
    wanted = {field for field in fields.split(",") if field}
    if wanted - {"input", "prediction"}:
        raise _wrong("fields", "known: input, prediction")
    with state.database.read() as connection:
        row = registry.model(connection, name)
        number = _asked(connection, row["id"], window)
        is_open = number is None or catalog.window(connection, row["id"], number)["state"] == "open"
    place = Place(window=number) if page_token is None else Place.of(page_token)
    if place.window != number and not (window == "open" and place.window is not None):
        raise _wrong("page_token", "belongs to another window")
    if page_token is None and is_open:
        # Rows that replicas still hold in open journals become segments first.
        barrier.seal(state.database, row["id"], most_seconds=SEAL_SECONDS)
    with state.database.read() as connection:
        after = (place.registered_at, place.segment)
        lines = catalog.segments_from(
            connection, row["id"], after, window=place.window, most=page_size + 1
        )
        open_number = catalog.open_window(connection, row["id"])["number"]
    walk = _Walk(state, row, wanted, open_number)
    body, token = walk.page(lines, place, page_size)
    return Response(
        body, media_type="application/x-ndjson", headers={"Next-Page-Token": token} if token else {}
    )


@router.delete("/subjects/{subject:path}", operation_id="erase_subject")
def erase_subject(name: str, subject: str, state: State, key: Ruling) -> dict[str, Any]:
    """Erase every row of a data subject that was acknowledged before this: from the log, with
    labels and pseudo-labels of it.

    `rows` were erased so far, `versions` had learnt from a window or a label with one of them. A
    run that learns from such a window is cancelled. It may take 12 s. What the subject sends later
    is logged. Again: the same answer.
    """
    with state.database.read() as connection:
        model = registry.model(connection, name)
    try:
        found = erasure.erase(
            state.database, state.segments, state.artifacts, model, subject, actor=key.name
        )
    except (StoreError, SegmentDamaged) as error:
        detail = f"not all of it is erased yet, ask again: {error}"
        raise Refusal("unavailable", detail, headers={"Retry-After": "2"}) from error
    return {"rows": found.rows, "versions": [str(version) for version in found.versions]}


def _asked(connection: Any, model_id: str, window: str | None) -> int | None:
    if window is None:
        return None
    number = (
        catalog.open_window(connection, model_id)["number"]
        if window == "open"
        else window_number(window)
    )
    found: int = catalog.window(connection, model_id, number)["number"]
    return found


@dataclass(frozen=True)
class _Walk:
    """One page of a walk over the segments of a model."""

    state: ServiceState
    model: Any
    wanted: set[str]
    open_number: int

    def page(self, lines: list[Any], place: Place, size: int) -> tuple[bytes, str | None]:
        """Up to `size` lines, and the token of the next page unless nothing follows."""
        out: list[bytes] = []
        for index, line in enumerate(lines):
            start = place.row if line["id"] == place.segment else 0
            stop = min(line["rows"], start + size - len(out))
            if start < stop:
                out += self._part(line, start, stop)
            if len(out) == size and (stop < line["rows"] or index + 1 < len(lines)):
                after = Place(
                    window=place.window,
                    registered_at=line["registered_at"],
                    segment=line["id"],
                    row=stop,
                )
                return b"".join(out), after.token
        return b"".join(out), None

    def _part(self, line: Any, start: int, stop: int) -> list[bytes]:
        try:
            rows = self.state.segments.take(line["key"], line["digest"], range(start, stop))
        except (StoreError, SegmentDamaged) as error:
            with self.state.database.read() as connection:
                registry.model(connection, self.model["name"])
                if not catalog.still_stands(connection, line["id"]):
                    return []
            detail = f"segment {line['id']} cannot be read: {error}"
            raise Refusal("unavailable", detail, headers={"Retry-After": "2"}) from error
        window = documents.window_id(
            line["window"] if line["window"] is not None else self.open_number
        )
        classes = self.model["spec"]["input"]["classes"]
        documents_ = (
            line_of(rows, place, window, self.wanted, classes) for place in range(len(rows))
        )
        return [
            orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"
            for document in documents_
        ]


def line_of(
    rows: LoggedRows, place: int, window: str, wanted: set[str], classes: list[str]
) -> dict[str, Any]:
    """One row as the export tells it; numpy values stand in it, which orjson writes."""
    line: dict[str, Any] = {
        "prediction_id": rows.prediction_id[place],
        "row": int(rows.row[place]),
        "version": rows.version[place],
        "window": window,
        "logged_at": documents.time(float(rows.logged_at[place])),
        "client": rows.client[place],
    }
    if "input" in wanted:
        line["input"] = documents.input(rows.x[place])
    if "prediction" in wanted:
        best = int(rows.probabilities[place].argmax())
        line |= {
            "label": classes[best],
            "class": best,
            "confidence": rows.probabilities[place, best],
        }
        line["probabilities"] = rows.probabilities[place]
        if rows.state is not None and rows.state[place] is not None:
            line["state"] = rows.state[place]
    return line


def _wrong(field: str, detail: str) -> Refusal:
    return Refusal("invalid", "the request is wrong", problems=[Problem(f"#/{field}", detail)])
