"""Labels of logged rows: which ones to ask a person for, and taking what people say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from acclimate.storage.log import barrier, catalog
from acclimate.storage.log.segments import SegmentDamaged
from acclimate.storage.registry import labels, registry
from acclimate.storage.registry.keys import Key
from acclimate.storage.registry.labels import Label
from acclimate.storage.store import StoreMissing
from service.auth import Scope
from service.errors import Refusal
from service.state import ServiceState, service_state

router = APIRouter(prefix="/api/v1/models/{name}", tags=["labels"])
State = Annotated[ServiceState, Depends(service_state)]
Labelling = Annotated[Key, Depends(Scope("feedback"))]
MOST_LABELS = 10_000
SEAL_SECONDS = 3.0
"""A replica that does not answer is waited for so long; labels of the rows that it alone has are
refused until it is back.
"""
Address = tuple[str, int]


@router.post("/feedback", operation_id="give_feedback")
async def give_feedback(
    name: str, request: Request, state: State, key: Labelling
) -> dict[str, Any]:
    """Labels of rows that were answered: a class name, its index, or null for none of the classes.

    The last word about a row counts, whoever said it; a source that repeats itself is a duplicate
    and changes nothing. What is accepted counts for every run that is asked for afterwards.
    """
    state.rate_limit.admit(key.id)
    try:
        entries = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise Refusal("bad-request", f"not JSON: {error}") from None
    if not isinstance(entries, list) or not 1 <= len(entries) <= MOST_LABELS:
        raise Refusal("invalid", f"send a list of 1 to {MOST_LABELS} labels")
    state.rate_limit.charge(key.id, len(entries))
    return await run_in_threadpool(_accept, state, name, entries)


@router.get("/label-queue", operation_id="get_label_queue", response_class=Response)
def get_label_queue(
    name: str,
    state: State,
    key: Labelling,
    limit: Annotated[int, Query(ge=1, le=500)] = 25,
    include: Literal["input"] | None = None,
) -> Response:
    """Rows of the open window to ask a person about: a uniform random choice, the same for
    everybody who asks meanwhile.

    `propensity` is the probability with which any row of the window was drawn, over all that were
    asked for so far; `value` is its inverse: for how many rows of the window a label stands. Needs
    the scope feedback, since it shows rows.
    """
    with state.database.read() as connection:
        row = registry.model(connection, name)
        _, policy = registry.policy(connection, row["id"])
    try:
        items, rows = state.label_queue.ask(row, limit=limit, with_input=include == "input")
    except SegmentDamaged as error:
        raise Refusal("unavailable", str(error), headers={"Retry-After": "2"}) from error
    document = {"items": items, "reason": _reason(row, policy, rows, len(items))}
    return Response(
        orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json"
    )


def _reason(row: Any, policy: Any, rows: int, items: int) -> str | None:
    """Why there is nothing to ask for, or why nothing will be learnt from the answers."""
    if rows == 0:
        return "the open window has no rows yet"
    if items == 0:
        return f"all {rows} rows of the open window are labelled"
    if policy.learnable == "no":
        return (
            'the policy says learnable = "no": labels tell how good the answers are, '
            "nothing is learnt from them"
        )
    if row["learning"] == "paused":
        why = row["learning_reason"] or "no reason given"
        return f"learning is paused ({why}): labels wait for a run that an operator starts"
    return None


def _accept(state: ServiceState, name: str, entries: list[Any]) -> dict[str, Any]:
    model = state.slots.model(name)
    read = [_label(entry, model.spec.input.classes) for entry in entries]
    standing = _segments_of_rows(
        state, model.id, {(label["prediction_id"], label["row"]) for label, _ in read if label}
    )
    good: list[tuple[int, Label]] = []
    rejected = []
    for index, (label, problem) in enumerate(read):
        segment = standing.get((label["prediction_id"], label["row"])) if label else None
        if label and segment:
            good.append((index, Label(**label, segment=segment)))
        else:
            rejected.append(
                {
                    "index": index,
                    "reason": problem or "no logged row has this prediction_id and row",
                }
            )
    with state.database.write() as connection:
        # One giver of labels at a time: two that say the same thing at once are an acceptance and a
        # duplicate.
        registry.lock(connection, model.id)
        news = labels.add(connection, model.id, [label for _, label in good])
    return {"accepted": sum(news), "duplicates": len(news) - sum(news), "rejected": rejected}


def _label(entry: Any, classes: tuple[str, ...]) -> tuple[dict[str, Any] | None, str | None]:
    """The label as storage takes it, or what is wrong with the entry."""
    if (
        not isinstance(entry, dict)
        or set(entry) - {"prediction_id", "row", "label", "source"}
        or "label" not in entry
    ):
        return None, "must be an object with prediction_id, row, label and, if you like, source"
    id, row, label, source = (
        entry.get(name) for name in ("prediction_id", "row", "label", "source")
    )
    source = "feedback" if source is None else source
    if (
        not isinstance(id, str)
        or not 1 <= len(id) <= 128
        or type(row) is not int
        or not 0 <= row < 2**31
    ):
        return None, "prediction_id must be a string and row a whole number"
    if not isinstance(source, str) or not 1 <= len(source) <= 63 or not source.isprintable():
        return None, "source must be 1 to 63 printable characters"
    if isinstance(label, str):
        if label not in classes:
            return None, f"the label is not one of the classes: {', '.join(classes[:20])}"
        label = classes.index(label)
    elif label is not None and (type(label) is not int or not 0 <= label < len(classes)):
        return (
            None,
            f"the label must be a class name, null, or an index from 0 to {len(classes) - 1}",
        )
    return {"prediction_id": id, "row": row, "label": label, "source": source}, None


def _segments_of_rows(
    state: ServiceState, model_id: str, asked: set[Address]
) -> dict[Address, str]:
    """The id of the segment in which each row stands, the newest where an id was sent again.

    Replicas are asked to seal only where a row is missing, so that labels of older rows wait for
    nobody.
    """
    found: dict[Address, str] = {}
    missing = {id for id, _ in asked}
    seen: set[str] = set()
    for sealed in (False, True):
        if sealed and missing:
            barrier.seal(state.database, model_id, most_seconds=SEAL_SECONDS)
        with state.database.read() as connection:
            lines = catalog.all_segments(connection, model_id)
        for line in sorted(lines, key=lambda line: line["last_logged_at"], reverse=True):
            if missing and line["id"] not in seen:
                seen.add(line["id"])
                here = (_find(state, line["key"], missing) & asked) - found.keys()
                if here:
                    found |= dict.fromkeys(here, line["id"])
                    missing = {id for id, row in asked if (id, row) not in found}
    return found


def _find(state: ServiceState, key: str, prediction_ids: set[str]) -> set[Address]:
    try:
        return state.segments.find(key, prediction_ids)
    except StoreMissing:  # the bounds of the log took it away meanwhile
        return set()
    except SegmentDamaged as error:
        raise Refusal("unavailable", str(error), headers={"Retry-After": "2"}) from error
