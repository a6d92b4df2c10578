"""Stores the labels that clients send, and says which rows to label next."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from acclimate.learning.spec import Policy
from acclimate.storage.database import Database
from acclimate.storage.log import barrier, catalog
from acclimate.storage.log.segments import SegmentDamaged, Segments
from acclimate.storage.registry import labels, models, revisions
from acclimate.storage.registry.labels import Label
from acclimate.storage.store import StoreMissing
from service.control import feedback_entries
from service.control.documents import Document
from service.control.feedback_entries import Address, Entry
from service.control.label_queue import LabelQueue
from service.errors import Refusal
from service.inference.model_slot import Model

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

SEAL_SECONDS = 3.0
"""The longest wait for a replica that does not seal; labels of rows that only it has are rejected
until it is back.
"""


def accept(database: Database, segments: Segments, model: Model, entries: list[Any]) -> Document:
    """Store the well-formed labels of logged rows.

    Returns the counts of accepted labels and duplicates, and the reason of every rejected entry by
    its index.
    """
    at = time.time()
    parsed = [feedback_entries.read(entry, model.spec.input.classes, now=at) for entry in entries]
    given = [entry for entry in parsed if isinstance(entry, Entry)]
    segment_of = _segments_of_rows(database, segments, model.id, {entry.address for entry in given})
    judged = {entry.address for entry in given if entry.right is not None}
    answer_of = _answers(segments, segment_of, judged & segment_of.keys())
    good: list[Label] = []
    rejected: list[Document] = []
    for index, entry in enumerate(parsed):
        if isinstance(entry, str):
            rejected.append({"index": index, "reason": entry})
        elif entry.address not in segment_of or (
            entry.right is not None and entry.address not in answer_of
        ):
            reason = "no logged row has this prediction_id and row"
            rejected.append({"index": index, "reason": reason})
        else:
            line, answer = segment_of[entry.address], answer_of.get(entry.address)
            good.append(_label(entry, line["id"], answer, len(model.spec.input.classes)))
    with database.write() as connection:
        # Under the lock: of two equal labels sent at the same time, one is accepted and one is a
        # duplicate.
        models.lock(connection, model.id)
        is_new = labels.add(connection, model.id, good)
    accepted = sum(is_new)
    return {"accepted": accepted, "duplicates": len(is_new) - accepted, "rejected": rejected}


def to_label(
    database: Database, queue: LabelQueue, name: str, *, limit: int, with_input: bool
) -> Document:
    """Up to `limit` rows to label, and the reason why there are none or why nothing is learnt.

    Raises `UnknownModel`, and the 503 refusal for a damaged segment.
    """
    with database.read() as connection:
        model = models.named(connection, name)
        _, policy = revisions.policy(connection, model["id"])
    try:
        items, rows = queue.ask(model, limit=limit, with_input=with_input)
    except SegmentDamaged as error:
        raise _damaged(error) from error
    return {"items": items, "reason": _reason(model, policy, rows, len(items))}


def _reason(model: RowMapping, policy: Policy, rows: int, items: int) -> str | None:
    """Why there is nothing to label, or why nothing will be learnt from the labels."""
    if rows == 0:
        return "the open window has no rows yet"
    if items == 0:
        return f"all {rows} rows of the open window are labelled"
    if policy.learnable == "no":
        return (
            'the policy has learnable = "no": labels measure the accuracy, '
            "nothing is learnt from them"
        )
    if model["learning"] == "paused":
        why = model["learning_reason"] or "no reason given"
        return f"learning is paused ({why}): labels wait for a run that an operator starts"
    return None


def _label(entry: Entry, segment: str, answer: int | None, classes: int) -> Label:
    """The label that an entry gives the row in this segment.

    An entry that says whether the `answer`, a class index, was right names the class where it was,
    and with two classes also where it was not; else only the class that the row is not.
    """
    label, wrong = entry.label, None
    if entry.right is not None and answer is not None:
        if entry.right:
            label = answer
        elif classes == 2:
            label = 1 - answer
        else:
            wrong = answer
    return Label(
        prediction_id=entry.prediction_id,
        row=entry.row,
        label=label,
        wrong=wrong,
        source=entry.source,
        segment=segment,
        label_time=entry.label_time,
    )


def _segments_of_rows(
    database: Database, segments: Segments, model_id: str, asked: set[Address]
) -> dict[Address, RowMapping]:
    """The segment of each row that is logged; the newest where an id was sent twice.

    Replicas are asked to seal only when a row is missing: labels of older rows do not wait.
    """
    found: dict[Address, RowMapping] = {}
    missing = {id for id, _ in asked}
    seen: set[str] = set()
    for sealed in (False, True):
        if sealed and missing:
            barrier.seal(database, model_id, most_seconds=SEAL_SECONDS)
        with database.read() as connection:
            lines = catalog.all_segments(connection, model_id)
        for line in sorted(lines, key=lambda line: line["last_logged_at"], reverse=True):
            if missing and line["id"] not in seen:
                seen.add(line["id"])
                here = (_find(segments, line["key"], missing) & asked) - found.keys()
                if here:
                    found |= dict.fromkeys(here, line)
                    missing = {id for id, row in asked if (id, row) not in found}
    return found


def _find(segments: Segments, key: str, prediction_ids: set[str]) -> set[Address]:
    try:
        return segments.find(key, prediction_ids)
    except StoreMissing:  # deleted meanwhile by the bounds of the log
        return set()
    except SegmentDamaged as error:
        raise _damaged(error) from error


def _answers(
    segments: Segments, segment_of: Mapping[Address, RowMapping], asked: set[Address]
) -> dict[Address, int]:
    """The class index that was answered to each of these rows, its best guess.

    Of copies of a row in its segment the first counts. Rows whose segment was deleted meanwhile are
    left out.
    """
    found: dict[Address, int] = {}
    by_segment: dict[str, set[Address]] = {}
    for address in asked:
        by_segment.setdefault(segment_of[address]["id"], set()).add(address)
    for here in by_segment.values():
        line = segment_of[next(iter(here))]
        try:
            position_of = segments.positions(line["key"], here)
            positions = np.array(list(position_of.values()), dtype=np.intp)
            rows = segments.take(line["key"], line["digest"], positions)
        except StoreMissing:
            continue
        except SegmentDamaged as error:
            raise _damaged(error) from error
        found |= dict(zip(position_of, rows.probabilities.argmax(axis=1).tolist(), strict=True))
    return found


def _damaged(error: SegmentDamaged) -> Refusal:
    return Refusal("unavailable", str(error), headers={"Retry-After": "2"})
