"""Stores the labels that clients send, and says which rows to label next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from acclimate.learning.spec import Policy
from acclimate.storage.database import Database
from acclimate.storage.log import barrier, catalog
from acclimate.storage.log.segments import SegmentDamaged, Segments
from acclimate.storage.registry import labels, models, revisions
from acclimate.storage.registry.labels import Label
from acclimate.storage.store import StoreMissing
from service.control.documents import Document
from service.control.label_queue import LabelQueue
from service.errors import Refusal
from service.inference.model_slot import Model

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

SEAL_SECONDS = 3.0
"""The longest wait for a replica that does not seal; labels of rows that only it has are rejected
until it is back.
"""
NAMES = {"prediction_id", "row", "label", "source"}
Address = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One label of a request; `label` is a class index, or None for none of the classes."""

    prediction_id: str
    row: int
    label: int | None
    source: str

    @property
    def address(self) -> Address:
        return self.prediction_id, self.row


def accept(database: Database, segments: Segments, model: Model, entries: list[Any]) -> Document:
    """Store the well-formed labels of logged rows.

    Returns the counts of accepted labels and duplicates, and the reason of every rejected entry by
    its index.
    """
    parsed = [_parsed(entry, model.spec.input.classes) for entry in entries]
    asked = {entry.address for entry in parsed if isinstance(entry, Entry)}
    segment_of = _segments_of_rows(database, segments, model.id, asked)
    good: list[Label] = []
    rejected: list[Document] = []
    for index, entry in enumerate(parsed):
        if isinstance(entry, str):
            rejected.append({"index": index, "reason": entry})
        elif entry.address not in segment_of:
            reason = "no logged row has this prediction_id and row"
            rejected.append({"index": index, "reason": reason})
        else:
            good.append(
                Label(
                    prediction_id=entry.prediction_id,
                    row=entry.row,
                    label=entry.label,
                    source=entry.source,
                    segment=segment_of[entry.address],
                )
            )
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
        raise Refusal("unavailable", str(error), headers={"Retry-After": "2"}) from error
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


def _parsed(entry: Any, classes: tuple[str, ...]) -> Entry | str:
    """The label, or what is wrong with the entry."""
    if not isinstance(entry, dict) or set(entry) - NAMES or "label" not in entry:
        return "must be an object with prediction_id, row, label and optionally source"
    id = entry.get("prediction_id")
    row = entry.get("row")
    if not isinstance(id, str) or not 1 <= len(id) <= 128 or not _is_row(row):
        return "prediction_id must be a string and row a whole number"
    source = "feedback" if entry.get("source") is None else entry["source"]
    if not isinstance(source, str) or not 1 <= len(source) <= 63 or not source.isprintable():
        return "source must be 1 to 63 printable characters"
    label = entry["label"]
    if isinstance(label, str):
        if label not in classes:
            return f"the label is not one of the classes: {', '.join(classes[:20])}"
        label = classes.index(label)
    elif label is not None and (type(label) is not int or not 0 <= label < len(classes)):
        return f"the label must be a class name, null, or an index from 0 to {len(classes) - 1}"
    return Entry(prediction_id=id, row=row, label=label, source=source)


def _is_row(row: Any) -> TypeGuard[int]:
    return type(row) is int and 0 <= row < 2**31


def _segments_of_rows(
    database: Database, segments: Segments, model_id: str, asked: set[Address]
) -> dict[Address, str]:
    """The id of the segment of each row that is logged; the newest where an id was sent twice.

    Replicas are asked to seal only when a row is missing: labels of older rows do not wait.
    """
    found: dict[Address, str] = {}
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
                    found |= dict.fromkeys(here, line["id"])
                    missing = {id for id, row in asked if (id, row) not in found}
    return found


def _find(segments: Segments, key: str, prediction_ids: set[str]) -> set[Address]:
    try:
        return segments.find(key, prediction_ids)
    except StoreMissing:  # deleted meanwhile by the bounds of the log
        return set()
    except SegmentDamaged as error:
        raise Refusal("unavailable", str(error), headers={"Retry-After": "2"}) from error
