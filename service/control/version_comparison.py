"""Finds the rows of the open window on which the versions that matter give different labels."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import structlog
from numpy.typing import NDArray

from acclimate.learning import label_sampling
from acclimate.learning.label_sampling import NO_CANDIDATES, Candidates, Priorities
from acclimate.learning.models.bundle import Bundle
from acclimate.storage.database import Database
from acclimate.storage.log.logged_rows import LoggedRows
from acclimate.storage.log.segments import Segments
from acclimate.storage.registry import promotions, versions
from acclimate.storage.registry.artifacts import ArtifactError
from acclimate.storage.store import StoreError, StoreMissing
from service.inference.model_slot import ModelSlots

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

log = structlog.get_logger()
COMPARED = ("champion", "proved", "learner")
MOST_COMPARED = 4000
"""How many rows of the open window are compared, the newest: it bounds the forward passes of one
request.
"""
MOST_HELD = 200_000
"""How many compared rows stay in memory: 16 bytes each, and 8 for each version."""
Classes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Compared:
    """The newest rows (M,) of a segment: their priorities, and the labels (M,) by version."""

    priority: Priorities
    labels: Mapping[int, Classes]

    def newest(self, rows: int) -> _Compared:
        """The newest of these rows; nothing where there are fewer."""
        first = len(self.priority) - rows
        if first < 0:
            return NOTHING
        return _Compared(
            priority=self.priority[first:],
            labels={version: labels[first:] for version, labels in self.labels.items()},
        )


NOTHING = _Compared(priority=np.empty(0, dtype=np.uint64), labels={})
Load = Callable[[int], Bundle | None]
_Part = tuple["RowMapping", int, range]


class VersionComparison:
    """Thread-safe; compares for one request at a time, so that serving keeps its cores.

    A version's label of a row is the one in the log where this version answered the row. Elsewhere
    the version answers it here, once, in the starting state of its mode: a mode with running state
    may have answered differently in traffic.
    """

    def __init__(self, database: Database, segments: Segments, slots: ModelSlots) -> None:
        self._database = database
        self._segments = segments
        self._slots = slots
        self._held: OrderedDict[tuple[str, int], _Compared] = OrderedDict()
        self._comparing = threading.Lock()

    def candidates(
        self, model_id: str, window: int, lines: Sequence[RowMapping], rows: Sequence[int]
    ) -> Candidates:
        """The rows on which the labels of champion, proved version and learner are not all equal.

        Of the newest `MOST_COMPARED` rows; without a forward pass where the three are one version.
        A version that cannot be loaded is left out. Raises `SegmentDamaged`.

        Args:
            window: number of the open window.
            lines: its segments, oldest first.
            rows: how many rows each segment has; a place is an index over all of them.
        """
        digests = self._digests(model_id)
        if len(digests) < 2:
            return NO_CANDIDATES
        load = functools.cache(lambda version: self._load(model_id, version, digests[version]))
        places = [NO_CANDIDATES.places]
        priorities = [NO_CANDIDATES.priority]
        with self._comparing:
            for line, start, part in _newest(lines, rows):
                found = self._compare(line, window, part, sorted(digests), load)
                labels = [found.labels[version] for version in digests if version in found.labels]
                if len(labels) > 1:
                    here = np.flatnonzero(label_sampling.differ(labels))
                    places.append(start + here)
                    priorities.append(found.priority[here])
        return Candidates(places=np.concatenate(places), priority=np.concatenate(priorities))

    def _digests(self, model_id: str) -> dict[int, str]:
        """The digests of the versions to compare, by number."""
        with self._database.read() as connection:
            aliases = promotions.aliases(connection, model_id)
            numbers = {aliases.get(name) for name in COMPARED}
            found = [versions.get(connection, model_id, number) for number in numbers if number]
        return {row["number"]: row["digest"] for row in found if row["deleted_at"] is None}

    def _load(self, model_id: str, version: int, digest: str) -> Bundle | None:
        try:
            return self._slots.get_or_load(model_id, version, digest).bundle
        except (ArtifactError, StoreError, ValueError) as error:
            log.warning("a version is not compared", version=version, error=str(error))
            return None

    def _compare(
        self, line: RowMapping, window: int, part: range, compared: Sequence[int], load: Load
    ) -> _Compared:
        """These rows of the segment with the labels of these versions, from memory where they were
        compared before. Without rows where the segment was deleted meanwhile.
        """
        key = (line["key"], window)
        held = self._held.get(key, NOTHING).newest(len(part))
        missing = [version for version in compared if version not in held.labels]
        if missing:
            try:
                rows = self._segments.take(line["key"], line["digest"], part)
            except StoreMissing:
                return NOTHING
            new = {version: _labels(version, rows, load) for version in missing}
            old = {version: held.labels.get(version) for version in compared}
            held = _Compared(
                priority=label_sampling.priorities(
                    rows.prediction_id, rows.row, key=f"{line['model_id']} {window} judge"
                ),
                labels={
                    version: labels for version, labels in (old | new).items() if labels is not None
                },
            )
            self._held[key] = held
            while sum(len(held.priority) for held in self._held.values()) > MOST_HELD:
                self._held.popitem(last=False)
        elif key in self._held:
            self._held.move_to_end(key)
        return held


def _newest(lines: Sequence[RowMapping], rows: Sequence[int]) -> Iterator[_Part]:
    """The segments that hold the newest `MOST_COMPARED` rows, newest first.

    Each with the place of the first of these rows, and their positions in the segment.
    """
    left = MOST_COMPARED
    start = sum(rows)
    for line, count in zip(reversed(lines), reversed(rows), strict=True):
        start -= count
        first = max(count - left, 0)
        if first < count:
            yield line, start + first, range(first, count)
        left -= count - first


def _labels(version: int, rows: LoggedRows, load: Load) -> Classes | None:
    """The version's label (N,) of each row; None where it is needed and cannot be loaded."""
    labels: Classes = rows.probabilities.argmax(axis=1)
    others = np.flatnonzero(np.array(rows.version) != str(version))
    if len(others):
        bundle = load(version)
        if bundle is None:
            return None
        answers = bundle.network_probabilities(rows.x[others], bundle.start)
        labels[others] = answers.argmax(axis=1)
    return labels
