"""Selects the rows of the open window to label, over the segments of all replicas."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acclimate.learning import label_sampling
from acclimate.learning.label_sampling import Item
from acclimate.storage.database import Database
from acclimate.storage.log import barrier, catalog, windows
from acclimate.storage.log.logged_rows import LoggedRows
from acclimate.storage.log.segments import Segments
from acclimate.storage.registry import labels
from acclimate.storage.store import StoreMissing
from service.control import documents
from service.control.version_comparison import VersionComparison
from service.inference.model_slot import ModelSlots

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

FRESH_SECONDS = 2.0
"""The shortest pause between two seals of the journals, so that frequent requests do not produce
many small segments.
"""
SEAL_SECONDS = 3.0
MOST_HELD = 4_000_000
"""How many rows' priorities stay in memory: 32 MB."""


class LabelQueue:
    """Thread-safe. Caches the priorities of the segments that it has read."""

    def __init__(self, database: Database, segments: Segments, slots: ModelSlots) -> None:
        self._database = database
        self._segments = segments
        self._comparison = VersionComparison(database, segments, slots)
        self._sealed_at: dict[str, float] = {}
        self._held: OrderedDict[tuple[str, int], label_sampling.Priorities] = OrderedDict()
        self._lock = threading.Lock()

    def ask(
        self, model: RowMapping, *, limit: int, with_input: bool
    ) -> tuple[list[dict[str, Any]], int]:
        """Up to `limit` items, rows that judge and rows that teach in turn, each in the order of
        its priority; and the number of rows in the open window that were logged at least 5 seconds
        ago.

        Blocks while versions answer rows that they were not compared on yet. Raises
        `SegmentDamaged`.
        """
        if time.monotonic() - self._sealed_at.get(model["id"], -FRESH_SECONDS) >= FRESH_SECONDS:
            started = time.monotonic()
            barrier.seal(self._database, model["id"], most_seconds=SEAL_SECONDS)
            self._sealed_at[model["id"]] = started
        with self._database.read() as connection:
            window = windows.open_window(connection, model["id"])["number"]
            lines = catalog.segments_of(connection, model["id"], None)
        priorities = [self._priorities(line, window) for line in lines]
        draw = _Draw(self._database, self._segments, model, lines, priorities)
        candidates = self._comparison.candidates(
            model["id"], window, lines, [len(found) for found in priorities]
        )
        asked = label_sampling.queue(draw.priority, candidates, draw.labelled, limit=limit)
        return draw.items(asked, with_input=with_input), len(draw.priority)

    def _priorities(self, line: RowMapping, window: int) -> label_sampling.Priorities:
        key = (line["key"], window)
        with self._lock:
            found = self._held.get(key)
        if found is None:
            try:
                ids, rows = self._segments.ids(line["key"])
            except StoreMissing:  # deleted meanwhile by the bounds of the log
                return np.empty(0, dtype=np.uint64)
            found = label_sampling.priorities(ids, rows, key=f"{line['model_id']} {window}")
            with self._lock:
                self._held[key] = found
                while sum(map(len, self._held.values())) > MOST_HELD and len(self._held) > 1:
                    self._held.popitem(last=False)
        return found


class _Draw:
    """The rows of one window, oldest first; a position is an index over all segments."""

    def __init__(
        self,
        database: Database,
        segments: Segments,
        model: RowMapping,
        lines: list[RowMapping],
        priorities: list[label_sampling.Priorities],
    ) -> None:
        self._database = database
        self._segments = segments
        self._model = model
        self._lines = lines
        self._starts = np.cumsum([0, *map(len, priorities)])
        self.priority = np.concatenate([np.empty(0, dtype=np.uint64), *priorities])

    def labelled(self, positions: label_sampling.Places) -> NDArray[np.bool_]:
        rows = self._rows(positions)
        addresses = {
            position: (row.prediction_id[0], int(row.row[0])) for position, row in rows.items()
        }
        with self._database.read() as connection:
            known = labels.answered(
                connection, self._model["id"], {id for id, _ in addresses.values()}
            )
        # A row that no longer exists counts as labelled: it cannot be labelled.
        return np.array(
            [addresses.get(int(position)) in {None, *known} for position in positions],
            dtype=np.bool_,
        )

    def items(self, asked: list[Item], *, with_input: bool) -> list[dict[str, Any]]:
        rows = self._rows(np.array([item.place for item in asked], dtype=np.intp))
        return [
            {
                **self._item(rows[item.place], with_input),
                "why": item.why,
                "value": item.value,
                "propensity": item.propensity,
            }
            for item in asked
            if item.place in rows
        ]

    def _item(self, row: LoggedRows, with_input: bool) -> dict[str, Any]:
        best = int(row.probabilities[0].argmax())
        item = {
            "prediction_id": row.prediction_id[0],
            "row": int(row.row[0]),
            "version": row.version[0],
            "label": self._model["spec"]["input"]["classes"][best],
            "confidence": float(row.probabilities[0, best]),
            "logged_at": documents.time(float(row.logged_at[0])),
        }
        return {**item, "input": documents.input(row.x[0])} if with_input else item

    def _rows(self, positions: label_sampling.Places) -> dict[int, LoggedRows]:
        """The rows by position, without those of segments that were deleted meanwhile."""
        found: dict[int, LoggedRows] = {}
        segments = np.searchsorted(self._starts, positions, side="right") - 1
        for segment in np.unique(segments).tolist():
            here = positions[segments == segment]
            line = self._lines[segment]
            try:
                rows = self._segments.take(
                    line["key"], line["digest"], here - self._starts[segment]
                )
            except StoreMissing:
                continue
            found |= {
                position: rows.take(np.array([index]))
                for index, position in enumerate(here.tolist())
            }
        return found
