"""The rows of a window, as a run reads them and as a plan of one does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sqlalchemy import RowMapping

from acclimate.storage.log.logged_rows import LoggedRows
from acclimate.storage.log.segments import Segments, deduplicate


def read(
    segments: Segments, lines: Sequence[RowMapping], tick: Callable[[int, int], None]
) -> LoggedRows:
    """The first copy of each row of these segments of the catalog, of which there must be one.
    Raises `SegmentDamaged`.
    """
    parts = []
    for done, line in enumerate(lines, 1):
        parts.append(segments.read(line["key"], line["digest"]))
        tick(done, len(lines))
    return deduplicate(LoggedRows.concatenate(parts))


def clients(rows: LoggedRows) -> dict[str, Any]:
    """Who sent the rows, as `Window.split` takes it: `client` (N,) for each row the number of a
    sender, `senders` their names.
    """
    names, numbers = np.unique(np.array(rows.client, dtype=np.str_), return_inverse=True)
    return {"client": numbers.astype(np.int64), "senders": tuple(names.tolist())}
