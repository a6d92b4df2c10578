"""Labels of logged rows: each source has one label for a row, and the newest label counts.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from acclimate.storage.database import clock
from acclimate.storage.tables import labels, segments, windows

AT_ONCE = 500
"""Ids in one query: every database takes so many parameters."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """A label of one logged row, given by `source`; None: none of the classes.

    `segment` is the id of the segment that holds the row.
    """

    prediction_id: str
    row: int
    label: int | None
    source: str
    segment: str

    @property
    def address(self) -> tuple[str, int]:
        return self.prediction_id, self.row


@dataclass(frozen=True, kw_only=True)
class LabelRecord:
    """The newest label of a row (None: none of the classes).

    `first_at` is when the oldest label of the row that is still stored was accepted, unix seconds.
    """

    label: int | None
    first_at: float


def add(connection: Connection, model_id: str, given: Sequence[Label]) -> list[bool]:
    """Store the labels; returns, in their order, which of them are new.

    A label is not new where this source gave the row the same label before, also earlier in
    `given`. A row without a label before counts in `rows_labelled` of the window of its segment.
    Call under `models.lock`.
    """
    stored = _labels_about(connection, model_id, {label.prediction_id for label in given})
    current = {key: label for key, (label, _) in stored.items()}
    labelled = {(prediction_id, row) for prediction_id, row, _ in stored}
    # Later than every stored label of these rows, and in the order given: the clock of one
    # statement would make the times equal.
    at = max([clock(connection), *(at + 1e-6 for _, at in stored.values())])
    accepted_at: dict[tuple[str, int, str], float] = {}
    first: dict[tuple[str, int], str] = {}
    news = []
    for position, label in enumerate(given):
        key = (label.prediction_id, label.row, label.source)
        news.append(key not in current or current[key] != label.label)
        if news[-1]:
            current[key], accepted_at[key] = label.label, at + position * 1e-6
        if label.address not in labelled:
            first.setdefault(label.address, label.segment)
    _write_labels(connection, model_id, current, accepted_at, stored)
    _count_labelled(connection, model_id, Counter(first.values()))
    return news


def records(
    connection: Connection, model_id: str, *, before: float
) -> dict[tuple[str, int], LabelRecord]:
    """The label record of each row that was labelled before the given time, unix seconds."""
    where = (labels.c.model_id == model_id, labels.c.accepted_at <= before)
    found: dict[tuple[str, int], LabelRecord] = {}
    for row in connection.execute(select(labels).where(*where).order_by(labels.c.accepted_at)):
        address = (row.prediction_id, row.row)
        first = found[address].first_at if address in found else row.accepted_at
        found[address] = LabelRecord(label=row.label, first_at=first)
    return found


def erase(connection: Connection, model_id: str, addresses: Collection[tuple[str, int]]) -> int:
    """Delete all labels of these rows; returns how many of the rows had one."""
    about = {
        (id, row) for id, row, _ in _labels_about(connection, model_id, {id for id, _ in addresses})
    }
    gone = about & set(addresses)
    for prediction_id, row in sorted(gone):
        here = (
            labels.c.model_id == model_id,
            labels.c.prediction_id == prediction_id,
            labels.c.row == row,
        )
        connection.execute(delete(labels).where(*here))
    return len(gone)


def labelled(
    connection: Connection, model_id: str, prediction_ids: Iterable[str]
) -> set[tuple[str, int]]:
    """The rows of these predictions that have a label."""
    return {
        (prediction_id, row)
        for prediction_id, row, _ in _labels_about(connection, model_id, set(prediction_ids))
    }


def _labels_about(
    connection: Connection, model_id: str, prediction_ids: set[str]
) -> dict[tuple[str, int, str], tuple[int | None, float]]:
    """(label, accepted_at) by (prediction id, row, source)."""
    found = {}
    asked = sorted(prediction_ids)
    for start in range(0, len(asked), AT_ONCE):
        where = (
            labels.c.model_id == model_id,
            labels.c.prediction_id.in_(asked[start : start + AT_ONCE]),
        )
        for row in connection.execute(select(labels).where(*where)):
            found[row.prediction_id, row.row, row.source] = (row.label, row.accepted_at)
    return found


def _write_labels(
    connection: Connection,
    model_id: str,
    current: Mapping[tuple[str, int, str], int | None],
    accepted_at: Mapping[tuple[str, int, str], float],
    stored: Collection[tuple[str, int, str]],
) -> None:
    """Insert the labels that were accepted, and update those that are `stored` already."""
    rows = [
        {
            "of": model_id,
            "id": key[0],
            "index": key[1],
            "by": key[2],
            "what": current[key],
            "at": at,
            "old": key in stored,
        }
        for key, at in accepted_at.items()
    ]
    columns = {"model_id": "of", "prediction_id": "id", "row": "index", "source": "by"}
    names = columns | {"label": "what", "accepted_at": "at"}
    new = [row for row in rows if not row["old"]]
    changed = [row for row in rows if row["old"]]
    if new:
        connection.execute(
            insert(labels), [{name: row[short] for name, short in names.items()} for row in new]
        )
    if changed:
        where = [labels.c[name] == bindparam(short) for name, short in columns.items()]
        change = (
            update(labels)
            .where(*where)
            .values(label=bindparam("what"), accepted_at=bindparam("at"))
        )
        connection.execute(
            change, [{short: row[short] for short in names.values()} for row in changed]
        )


def _count_labelled(connection: Connection, model_id: str, rows: Mapping[str, int]) -> None:
    """Add labelled rows, counted by segment, to the windows that the segments are in."""
    by_window: Counter[int | None] = Counter()
    asked = sorted(rows)
    for start in range(0, len(asked), AT_ONCE):
        query = select(segments.c.id, segments.c.window).where(
            segments.c.id.in_(asked[start : start + AT_ONCE])
        )
        for segment in connection.execute(query):
            by_window[segment.window] += rows[segment.id]
    for number, count in by_window.items():
        here = windows.c.state == "open" if number is None else windows.c.number == number
        counted = update(windows).where(windows.c.model_id == model_id, here)
        connection.execute(counted.values(rows_labelled=windows.c.rows_labelled + count))
