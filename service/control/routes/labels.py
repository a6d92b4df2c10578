"""Labels of logged rows: give feedback, and get the rows to label next."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from service.body_limit import whole_body
from service.control import labels
from service.control.routes.parameters import FeedbackKey, State
from service.errors import Refusal

router = APIRouter(prefix="/api/v1/models/{name}", tags=["labels"])
MOST_LABELS = 10_000


@router.post("/feedback", operation_id="give_feedback")
async def give_feedback(
    name: str, request: Request, state: State, key: FeedbackKey
) -> dict[str, Any]:
    """Store labels of logged rows: a class name, its index, or null for none of the classes.

    Instead of `label`, `right` says whether the label of the answer was right. `right: true` stores
    the class that was answered. `right: false` stores the other one of two classes; of more
    classes it stores that the row is not the one that was answered, which neither judges nor
    trains. `label_time` is when the label was known.

    The newest label of a row counts, whichever source sent it. A source that sends the same label
    again is a duplicate and changes nothing. Accepted labels count for every run that is started
    afterwards.
    """
    state.rate_limit.admit(key.id)
    try:
        entries = orjson.loads(await whole_body(request, most=state.settings.body_limit))
    except orjson.JSONDecodeError as error:
        raise Refusal("bad-request", f"not JSON: {error}") from None
    if not isinstance(entries, list) or not 1 <= len(entries) <= MOST_LABELS:
        raise Refusal("invalid", f"send a list of 1 to {MOST_LABELS} labels")
    state.rate_limit.charge(key.id, len(entries))
    model = state.slots.model(name)
    return await run_in_threadpool(labels.accept, state.database, state.segments, model, entries)


@router.get("/label-queue", operation_id="get_label_queue", response_class=Response)
def get_label_queue(
    name: str,
    state: State,
    key: FeedbackKey,
    limit: Annotated[int, Query(ge=1, le=500)] = 25,
    include: Literal["input"] | None = None,
) -> Response:
    """Rows of the open window to label, in turn for two purposes. Concurrent requests get the same
    rows.

    `why` is `judge` or `teach`. Rows that judge are drawn uniformly among the newest 4,000 rows of
    the window, those on which the labels of the served, the proved and the newest version differ.
    Rows that teach are drawn uniformly over the window. Half of the list judge; where there are
    fewer, the others teach. The first n rows are a good set of n.

    `propensity` is the probability with which any row that the draw is over was drawn, over all
    rows drawn so far. `value` is its inverse: the number of rows that a label represents. A row
    that both draws have is in the list once, as `judge`. Needs the scope feedback, because it shows
    rows.
    """
    document = labels.to_label(
        state.database,
        state.label_queue,
        name,
        limit=limit,
        with_input=include == "input",
    )
    body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json")
