"""The log as users see it: export its rows, and give labels to them later."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from acclimate.learning.values import Problem
from acclimate.storage import barrier, catalog, registry
from acclimate.storage.keys import Key
from acclimate.storage.logged_rows import LoggedRows
from service import documents
from service.auth import Scope
from service.equipment import Equipment, equipment
from service.errors import Refusal
from service.routes.runs import window_number

router = APIRouter(prefix="/api/v1/models/{name}", tags=["log"])
Held = Annotated[Equipment, Depends(equipment)]
Viewing = Annotated[Key, Depends(Scope("view"))]
Labelling = Annotated[Key, Depends(Scope("feedback"))]
MOST_LABELS = 10_000


@router.get("/rows", operation_id="list_rows", response_class=Response)
def list_rows(
    name: str,
    held: Held,
    key: Viewing,
    window: str | None = None,
    fields: str = "",
    page_size: Annotated[int, Query(ge=1, le=10_000)] = 500,
    page_token: str | None = None,
) -> Response:
    """One line of JSON per stored copy of a row; the header Next-Page-Token is there while more follow."""
    wanted = {field for field in fields.split(",") if field}
    if wanted - {"input", "prediction"}:
        raise Refusal("invalid", "the request is wrong", problems=[Problem("#/fields", "known: input, prediction")])
    with held.database.read() as connection:
        row = registry.model(connection, name)
    if page_token is None and window in (None, "open"):
        # Rows that replicas still hold in open journals become segments first.
        barrier.seal(held.database, row["id"])
    with held.database.read() as connection:
        if window is None:
            lines = catalog.all_segments(connection, row["id"])
        elif window == "open":
            lines = catalog.segments_of(connection, row["id"], None)
        else:
            lines = _segments_of_window(connection, row["id"], window_number(window))
        open_number = catalog.all_windows(connection, row["id"])[-1]["number"]
    lines = sorted(lines, key=lambda line: (line["registered_at"], line["id"]))
    body, token = _page(held, lines, open_number, wanted, page_size, page_token)
    headers = {"Next-Page-Token": token} if token else {}
    return Response(body, media_type="application/x-ndjson", headers=headers)


@router.post("/feedback", operation_id="give_feedback")
async def give_feedback(name: str, request: Request, held: Held, key: Labelling) -> dict[str, Any]:
    """Labels of rows that were answered: a class name, its index, or null for none of the classes. The last word counts."""
    try:
        entries = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise Refusal("bad-request", f"not JSON: {error}") from None
    if not isinstance(entries, list) or not 1 <= len(entries) <= MOST_LABELS:
        raise Refusal("invalid", f"send a list of 1 to {MOST_LABELS} labels")
    return await run_in_threadpool(_accept, held, name, entries)


def _segments_of_window(connection: Any, model_id: str, number: int) -> list[Any]:
    if catalog.window(connection, model_id, number)["state"] == "open":
        return catalog.segments_of(connection, model_id, None)
    return catalog.segments_of(connection, model_id, [number])


def _page(
    held: Equipment, lines: list[Any], open_number: int, wanted: set[str], size: int, token: str | None
) -> tuple[bytes, str | None]:
    """Up to `size` lines behind the place that the token names: a segment and how many of its rows were given."""
    segment, skip = _place(token)
    start = next((index for index, line in enumerate(lines) if line["id"] == segment), 0) if segment else 0
    out: list[bytes] = []
    for line in lines[start:]:
        rows = held.segments.read(line["key"], line["digest"])
        number = line["window"] if line["window"] is not None else open_number
        taken = range(skip, min(len(rows), skip + size - len(out)))
        out.extend(
            orjson.dumps(_line(rows, place, number, wanted), option=orjson.OPT_SERIALIZE_NUMPY) for place in taken
        )
        if len(out) == size and (taken.stop < len(rows) or line is not lines[-1]):
            return b"\n".join(out) + b"\n", f"{line['id']}.{taken.stop}"
        skip = 0
    return b"".join(line + b"\n" for line in out), None


def _place(token: str | None) -> tuple[str | None, int]:
    if token is None:
        return None, 0
    segment, _, skip = token.partition(".")
    rows = documents.number(skip, digits=12)
    if rows is None:
        raise Refusal(
            "invalid", "the request is wrong", problems=[Problem("#/page_token", "is not one that a reply gave")]
        )
    return segment, rows


def _line(rows: LoggedRows, place: int, window: int, wanted: set[str]) -> dict[str, Any]:
    line: dict[str, Any] = {
        "prediction_id": rows.prediction_id[place],
        "row": int(rows.row[place]),
        "version": rows.version[place],
        "window": documents.window_id(window),
        "logged_at": documents.time(float(rows.logged_at[place])),
        "client": rows.client[place],
    }
    if "input" in wanted:
        line["input"] = rows.x[place]
    if "prediction" in wanted:
        line["probabilities"] = rows.probabilities[place]
        line["class"] = int(rows.probabilities[place].argmax())
    return line


def _accept(held: Equipment, name: str, entries: list[Any]) -> dict[str, Any]:
    model = held.slots.model(name)
    read = [_label(entry, model.spec.input.classes) for entry in entries]
    barrier.seal(held.database, model.id)
    known = _known_rows(held, model.id, {label["prediction_id"] for label, _ in read if label})
    accepted = duplicates = 0
    rejected = []
    with held.database.write() as connection:
        # One giver of labels at a time: two that say the same thing at once are an acceptance and a duplicate.
        registry.lock(connection, model.id)
        for index, (label, problem) in enumerate(read):
            if label and (label["prediction_id"], label["row"]) not in known:
                problem = "no logged row has this prediction_id and row"
            if problem or label is None:
                rejected.append({"index": index, "reason": problem})
            elif catalog.add_label(connection, model.id, **label):
                accepted += 1
            else:
                duplicates += 1
    return {"accepted": accepted, "duplicates": duplicates, "rejected": rejected}


def _label(entry: Any, classes: tuple[str, ...]) -> tuple[dict[str, Any] | None, str | None]:
    """The label as storage takes it, or what is wrong with the entry."""
    if not isinstance(entry, dict) or set(entry) - {"prediction_id", "row", "label", "source"} or "label" not in entry:
        return None, "must be an object with prediction_id, row, label and, if you like, source"
    id, row, label, source = (entry.get(name) for name in ("prediction_id", "row", "label", "source"))
    source = "feedback" if source is None else source
    if not isinstance(id, str) or not 1 <= len(id) <= 128 or type(row) is not int or not 0 <= row < 2**31:
        return None, "prediction_id must be a string and row a whole number"
    if not isinstance(source, str) or not 1 <= len(source) <= 63 or not source.isprintable():
        return None, "source must be 1 to 63 printable characters"
    if isinstance(label, str):
        if label not in classes:
            return None, f"the label is not one of the classes: {', '.join(classes[:20])}"
        label = classes.index(label)
    elif label is not None and (type(label) is not int or not 0 <= label < len(classes)):
        return None, f"the label must be a class name, null, or an index from 0 to {len(classes) - 1}"
    return {"prediction_id": id, "row": row, "label": label, "source": source}, None


def _known_rows(held: Equipment, model_id: str, asked: set[str]) -> set[tuple[str, int]]:
    """Which rows of the asked predictions stand in the log; newest segments first, until all predictions are found."""
    known: set[tuple[str, int]] = set()
    missing = set(asked)
    with held.database.read() as connection:
        lines = catalog.all_segments(connection, model_id)
    for line in sorted(lines, key=lambda line: line["last_logged_at"], reverse=True):
        if not missing:
            break
        ids, rows = held.segments.ids(line["key"])
        found = {(id, row) for id, row in zip(ids, rows.tolist(), strict=True) if id in asked}
        known |= found
        missing -= {id for id, _ in found}
    return known
