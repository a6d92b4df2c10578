"""The answers that a version gives now, read from the log: only what was sealed since the last look, and never waiting for it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import structlog
from numpy.typing import NDArray

from acclimate.learning.behaviour import Behaviour
from acclimate.storage.segments import SegmentDamaged, Segments
from acclimate.storage.store import StoreError

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

log = structlog.get_logger()

GROWTH = 0.2
"""A look costs a seal, and a seal makes a file: the next one waits until the rows have grown by this share."""


class Seen:
    """What the last look at each thing had before it. Lost with the process, which then looks once more."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, Hashable] = {}

    def same(self, what: Hashable, state: Hashable) -> bool:
        """Whether the last finished look at the same thing had the same before it."""
        return self._seen.get(what) == state

    def note(self, what: Hashable, state: Hashable) -> None:
        self._seen[what] = state


def ids(lines: Iterable[RowMapping]) -> frozenset[str]:
    return frozenset(line["id"] for line in lines)


def behaviour(
    segments: Segments, lines: Iterable[RowMapping], *, version: int, since: float, most: int
) -> Behaviour | None:
    """How the version answered in these segments, in their order, until `most` rows are found; None where it did not.

    Rows logged before `since`, answers of other versions and repeated rows do not count. A segment that cannot be read is left
    out.
    """
    counted: set[tuple[str, int]] = set()
    answers: list[NDArray[np.float32]] = []
    for line in lines:
        if len(counted) >= most:
            break
        try:
            found = segments.answers(line["key"])
        except (SegmentDamaged, StoreError) as error:
            log.warning("a segment is left out of the look", segment=line["id"], error=str(error))
            continue
        places = []
        for place in np.flatnonzero((found.version == str(version)) & (found.logged_at >= since)).tolist():
            address = (found.prediction_id[place], int(found.row[place]))
            if address not in counted and len(counted) < most:
                counted.add(address)
                places.append(place)
        answers.append(found.probabilities[places])
    return Behaviour.of(np.concatenate(answers)) if counted else None
