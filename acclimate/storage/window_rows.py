"""The rows of a window and what is known of them, as a run reads them and as a plan of one does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from sqlalchemy import RowMapping

from acclimate.learning.values import NONE_OF_THE_CLASSES, UNLABELLED, Integers
from acclimate.storage.logged_rows import LoggedRows
from acclimate.storage.segments import Segments, deduplicate


def read(segments: Segments, lines: Sequence[RowMapping], tick: Callable[[int, int], None]) -> LoggedRows:
    """The first copy of each row of these segments of the catalog, of which there must be one. Raises `SegmentDamaged`."""
    parts = []
    for done, line in enumerate(lines, 1):
        parts.append(segments.read(line["key"], line["digest"]))
        tick(done, len(lines))
    return deduplicate(LoggedRows.concatenate(parts))


def labels_of(rows: LoggedRows, labels: Mapping[tuple[str, int], int | None]) -> Integers:
    """The label (N,) of each row, `UNLABELLED` or `NONE_OF_THE_CLASSES`."""
    known = np.full(len(rows), UNLABELLED, dtype=np.int64)
    for place, address in enumerate(zip(rows.prediction_id, rows.row.tolist(), strict=True)):
        if address in labels:
            label = labels[address]
            known[place] = NONE_OF_THE_CLASSES if label is None else label
    return known
