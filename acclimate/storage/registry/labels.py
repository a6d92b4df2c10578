"""Labels of logged rows: each source has one for a row, and the newest counts.

Instead of naming a class, a source may say which class the row is not (`wrong`). Such a row stays
without a label: nothing is trained or judged with it. Every function works inside the caller's
transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, bindparam, delete, insert, select, update

from acclimate.storage.database import clock
from acclimate.storage.tables import labels, segments, windows

AT_ONCE = 500
"""Ids in one query: every database takes so many parameters."""


Address = tuple[str, int]
Key = tuple[str, int, str]


@dataclass(frozen=True, kw_only=True)
class Label:
    """What `source` says of one logged row: its class, None for none of the classes.

    With `wrong`, `label` is None and says nothing: the row is not of the class `wrong`, and no more
    is known. `label_time` is when the label was known, unix seconds, as the sender says. `segment`
    is the id of the segment that holds the row.
    """

    prediction_id: str
    row: int
    label: int | None
    source: str
    segment: str
    wrong: int | None = None
    label_time: float | None = None

    @property
    def address(self) -> Address:
        return self.prediction_id, self.row

    @property
    def key(self) -> Key:
        return self.prediction_id, self.row, self.source


@dataclass(frozen=True, kw_only=True)
class LabelRecord:
    """The newest label of a row (None: none of the classes).

    `first_at` is when the oldest label of the row that is still stored was accepted, unix seconds.
    """

    label: int | None
    first_at: float


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """What a source said of a row last, and when it was accepted, unix seconds."""

    address: Address
    label: int | None
    wrong: int | None
    accepted_at: float

    @property
    def content(self) -> tuple[int | None, int | None]:
        return self.label, self.wrong


def add(connection: Connection, model_id: str, given: Sequence[Label]) -> list[bool]:
    """Store the labels; returns, in their order, which of them are new.

    A label is not new where this source said the same of the row before, also earlier in `given`,
    whatever the label times. `rows_labelled` of the window of its segment follows the rows that
    have a label. Call under `models.lock`.
    """
    stored = _stored_about(connection, model_id, {label.prediction_id for label in given})
    # Later than every stored label of these rows, and in the order given: the clock of one
    # statement would make the times equal.
    at = max([clock(connection), *(said.accepted_at + 1e-6 for said in stored.values())])
    current = dict(stored)
    accepted: dict[Key, Label] = {}
    news = []
    for position, label in enumerate(given):
        said = _Stored(
            address=label.address,
            label=label.label,
            wrong=label.wrong,
            accepted_at=at + position * 1e-6,
        )
        before = current.get(label.key)
        news.append(before is None or before.content != said.content)
        if news[-1]:
            current[label.key], accepted[label.key] = said, label
    _write_labels(connection, model_id, accepted, current, stored)
    changes: Counter[str] = Counter()
    had, have = _records(stored.values()), _records(current.values())
    for address, segment in {label.address: label.segment for label in accepted.values()}.items():
        changes[segment] += (address in have) - (address in had)
    _count_labelled(connection, model_id, changes)
    return news


def records(connection: Connection, model_id: str, *, before: float) -> dict[Address, LabelRecord]:
    """The label record of each row that was labelled before the given time, unix seconds.

    Without the rows of which it is known only which class they are not. A row whose newest label
    another source called wrong later has no label either.
    """
    where = (labels.c.model_id == model_id, labels.c.accepted_at <= before)
    return _records(_stored(connection, *where).values())


def erase(connection: Connection, model_id: str, addresses: Collection[Address]) -> int:
    """Delete what was said of these rows; returns how many of the rows had a label."""
    about = _stored_about(connection, model_id, {id for id, _ in addresses})
    gone = {said.address for said in about.values()} & set(addresses)
    for prediction_id, row in sorted(gone):
        here = (
            labels.c.model_id == model_id,
            labels.c.prediction_id == prediction_id,
            labels.c.row == row,
        )
        connection.execute(delete(labels).where(*here))
    return len(gone & _records(about.values()).keys())


def answered(connection: Connection, model_id: str, prediction_ids: Iterable[str]) -> set[Address]:
    """The rows of these predictions of which somebody said the class, or a class they are not."""
    about = _stored_about(connection, model_id, set(prediction_ids))
    return {said.address for said in about.values()}


def _records(stored: Iterable[_Stored]) -> dict[Address, LabelRecord]:
    """The label record of each labelled row.

    That a row is not of a class takes away an older label that names this class, and nothing else.
    """
    found: dict[Address, LabelRecord] = {}
    first_at: dict[Address, float] = {}
    for said in sorted(stored, key=lambda said: said.accepted_at):
        if said.wrong is None:
            first = first_at.setdefault(said.address, said.accepted_at)
            found[said.address] = LabelRecord(label=said.label, first_at=first)
        elif said.address in found and found[said.address].label == said.wrong:
            del found[said.address]
    return found


def _stored_about(
    connection: Connection, model_id: str, prediction_ids: set[str]
) -> dict[Key, _Stored]:
    """What is stored about these predictions."""
    found: dict[Key, _Stored] = {}
    asked = sorted(prediction_ids)
    for start in range(0, len(asked), AT_ONCE):
        where = (
            labels.c.model_id == model_id,
            labels.c.prediction_id.in_(asked[start : start + AT_ONCE]),
        )
        found |= _stored(connection, *where)
    return found


def _stored(connection: Connection, *where: ColumnElement[bool]) -> dict[Key, _Stored]:
    """What is stored in the rows of the table that meet the conditions."""
    return {
        (row.prediction_id, row.row, row.source): _Stored(
            address=(row.prediction_id, row.row),
            label=row.label,
            wrong=row.wrong,
            accepted_at=row.accepted_at,
        )
        for row in connection.execute(select(labels).where(*where))
    }


def _write_labels(
    connection: Connection,
    model_id: str,
    accepted: Mapping[Key, Label],
    current: Mapping[Key, _Stored],
    stored: Collection[Key],
) -> None:
    """Insert the labels that were accepted, and update those that are `stored` already."""
    rows = [
        {
            "of": model_id,
            "id": key[0],
            "index": key[1],
            "by": key[2],
            "what": label.label,
            "not": label.wrong,
            "known": label.label_time,
            "at": current[key].accepted_at,
            "old": key in stored,
        }
        for key, label in accepted.items()
    ]
    columns = {"model_id": "of", "prediction_id": "id", "row": "index", "source": "by"}
    values = {"label": "what", "wrong": "not", "label_time": "known", "accepted_at": "at"}
    names = columns | values
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
            .values({name: bindparam(short) for name, short in values.items()})
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
        if count == 0:
            continue
        here = windows.c.state == "open" if number is None else windows.c.number == number
        counted = update(windows).where(windows.c.model_id == model_id, here)
        connection.execute(counted.values(rows_labelled=windows.c.rows_labelled + count))
