"""The logged rows of a model as lines of JSON, page by page, and the erasure of a data subject."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from acclimate.storage.database import Database
from acclimate.storage.log import barrier, catalog, erasure, windows
from acclimate.storage.log.logged_rows import LoggedRows
from acclimate.storage.log.segments import SegmentDamaged, Segments
from acclimate.storage.registry import models
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.store import StoreError
from service.control import documents
from service.control.documents import Document
from service.errors import Refusal

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

SEAL_SECONDS = 4.0
"""The longest wait for a replica that does not seal; its rows appear when it is back."""
TOKEN = re.compile(r"(all|[0-9]{1,9})-([0-9a-f]{16})-([0-9A-Z]{26})-([0-9]{1,12})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a page begins: after `row` rows of the segment that was registered at `registered_at`.

    `window` is the number of the only window that is read, None for all. A window keeps its number
    when it closes.
    """

    window: int | None = None
    registered_at: float = 0.0
    segment: str = ""
    row: int = 0

    @property
    def token(self) -> str:
        """The page token of this position."""
        window = "all" if self.window is None else str(self.window)
        registered_at = struct.pack(">d", self.registered_at).hex()
        return "-".join((window, registered_at, self.segment, str(self.row)))

    @staticmethod
    def of(token: str) -> Position | None:
        """The position of a page token; None for a text that is none."""
        found = TOKEN.fullmatch(token)
        if found is None:
            return None
        window, at, segment, row = found.groups()
        return Position(
            window=None if window == "all" else int(window),
            registered_at=struct.unpack(">d", bytes.fromhex(at))[0],
            segment=segment,
            row=int(row),
        )


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which rows of a model to read: one window, or all where `number` is None.

    `is_open` is whether rows may still be in the replicas' journals.
    """

    model: RowMapping
    number: int | None
    is_open: bool


def query(database: Database, name: str, window: int | str | None) -> Query:
    """The query for a window by number, for the `open` one, or for all windows (None).

    Raises `UnknownModel`, `UnknownWindow`.
    """
    with database.read() as connection:
        model = models.named(connection, name)
        if window is None:
            return Query(model=model, number=None, is_open=True)
        if window == "open":
            number = windows.open_window(connection, model["id"])["number"]
        else:
            number = int(window)
        row = windows.get(connection, model["id"], number)
        return Query(model=model, number=row["number"], is_open=row["state"] == "open")


def seal(database: Database, query: Query) -> None:
    """Move the rows in the replicas' open journals into segments, where the query may need them."""
    if query.is_open:
        barrier.seal(database, query.model["id"], most_seconds=SEAL_SECONDS)


def page(
    database: Database,
    segments: Segments,
    query: Query,
    position: Position,
    *,
    fields: set[str],
    size: int,
) -> tuple[bytes, str | None]:
    """Up to `size` lines of JSON from the position on, and the token of the next page, if any.

    Args:
        fields: what to add to each line: `input`, `prediction`.

    Raises the 503 refusal for a segment that cannot be read.
    """
    model_id = query.model["id"]
    with database.read() as connection:
        after = (position.registered_at, position.segment)
        lines = catalog.segments_from(
            connection, model_id, after, window=position.window, most=size + 1
        )
        open_number = windows.open_window(connection, model_id)["number"]
    reader = _Reader(database, segments, query.model, fields, open_number)
    return reader.page(lines, position, size)


def erase_subject(
    database: Database,
    segments: Segments,
    artifacts: Artifacts,
    name: str,
    subject: str,
    actor: str,
) -> Document:
    """Erase the rows of a data subject, with their labels and pseudo-labels.

    Returns the number of erased rows and the versions that had learnt from one. Raises
    `UnknownModel`, and the 503 refusal when a part is not erased yet.
    """
    with database.read() as connection:
        model = models.named(connection, name)
    try:
        found = erasure.erase(database, segments, artifacts, model, subject, actor=actor)
    except (StoreError, SegmentDamaged) as error:
        detail = f"not all of it is erased yet, ask again: {error}"
        raise Refusal("unavailable", detail, headers={"Retry-After": "2"}) from error
    return {"rows": found.rows, "versions": [str(version) for version in found.versions]}


def line_of(
    rows: LoggedRows, index: int, window: str, fields: set[str], classes: Sequence[str]
) -> dict[str, Any]:
    """One row as the object of its line. Some values are numpy's, which orjson serialises."""
    line: dict[str, Any] = {
        "prediction_id": rows.prediction_id[index],
        "row": int(rows.row[index]),
        "version": rows.version[index],
        "window": window,
        "logged_at": documents.time(float(rows.logged_at[index])),
        "client": rows.client[index],
    }
    if "input" in fields:
        line["input"] = documents.input(rows.x[index])
    if "prediction" in fields:
        best = int(rows.probabilities[index].argmax())
        line["label"] = classes[best]
        line["class"] = best
        line["confidence"] = rows.probabilities[index, best]
        line["probabilities"] = rows.probabilities[index]
        if rows.state is not None and rows.state[index] is not None:
            line["state"] = rows.state[index]
    return line


@dataclass(frozen=True)
class _Reader:
    """Reads one page over the segments of a model."""

    database: Database
    segments: Segments
    model: RowMapping
    fields: set[str]
    open_number: int

    def page(
        self, lines: Sequence[RowMapping], position: Position, size: int
    ) -> tuple[bytes, str | None]:
        """Up to `size` lines, and the token of the next page unless nothing follows."""
        out: list[bytes] = []
        for index, line in enumerate(lines):
            start = position.row if line["id"] == position.segment else 0
            stop = min(line["rows"], start + size - len(out))
            if start < stop:
                out += self._part(line, start, stop)
            more = stop < line["rows"] or index + 1 < len(lines)
            if len(out) == size and more:
                after = Position(
                    window=position.window,
                    registered_at=line["registered_at"],
                    segment=line["id"],
                    row=stop,
                )
                return b"".join(out), after.token
        return b"".join(out), None

    def _part(self, line: RowMapping, start: int, stop: int) -> list[bytes]:
        """The rows start..stop of one segment; none when it was deleted meanwhile."""
        try:
            rows = self.segments.take(line["key"], line["digest"], range(start, stop))
        except (StoreError, SegmentDamaged) as error:
            with self.database.read() as connection:
                models.named(connection, self.model["name"])
                if not catalog.is_stored(connection, line["id"]):
                    return []
            detail = f"segment {line['id']} cannot be read: {error}"
            raise Refusal("unavailable", detail, headers={"Retry-After": "2"}) from error
        number = line["window"] if line["window"] is not None else self.open_number
        window = documents.window_id(number)
        classes = self.model["spec"]["input"]["classes"]
        found = (line_of(rows, index, window, self.fields, classes) for index in range(len(rows)))
        return [orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n" for line in found]
