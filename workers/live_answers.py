"""Logged answers of versions, read without their inputs and without waiting for a seal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import structlog
from numpy.typing import NDArray

from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.storage.log.segments import Answers, SegmentDamaged, Segments, first_copies
from acclimate.storage.store import StoreError

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

log = structlog.get_logger()

SEAL_GROWTH = 0.2
"""A poll asks for the next seal when the rows have grown by this share: each seal makes a file."""


class LastChecked:
    """The state of each subject at its last check, in memory: unchanged ones are not checked again.

    Subject and state are any hashable values.
    """

    def __init__(self) -> None:
        self._seen: dict[Hashable, Hashable] = {}

    def unchanged(self, what: Hashable, state: Hashable) -> bool:
        """Whether the subject had the same state at its last finished check."""
        return self._seen.get(what) == state

    def note(self, what: Hashable, state: Hashable) -> None:
        """Record that the subject was checked in this state."""
        self._seen[what] = state


def segment_ids(lines: Iterable[RowMapping]) -> frozenset[str]:
    """The ids of these segments."""
    return frozenset(line["id"] for line in lines)


def behaviour(
    segments: Segments, lines: Iterable[RowMapping], *, version: int, most: int
) -> Behaviour | None:
    """How the version answered the first `most` rows of these segments; None without an answer.

    Answers of other versions and repeated rows do not count. A segment that cannot be read is left
    out.
    """
    found: list[NDArray[np.float32]] = []
    rows = 0
    for answers in _first_copies(segments, lines):
        found.append(answers.probabilities[answers.version == str(version)][: most - rows])
        rows += len(found[-1])
        if rows >= most:
            break
    return Behaviour.of(np.concatenate(found)) if rows else None


def served(segments: Segments, lines: Iterable[RowMapping]) -> tuple[int, Behaviour] | None:
    """The version that answered most rows of these segments, and how; None without an answer."""
    found: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    for answers in _first_copies(segments, lines):
        for version in np.unique(answers.version).tolist():
            found[version].append(answers.probabilities[answers.version == version])
    if not found:
        return None
    version, parts = max(found.items(), key=lambda item: sum(map(len, item[1])))
    return int(version), Behaviour.of(np.concatenate(parts))


def _first_copies(segments: Segments, lines: Iterable[RowMapping]) -> Iterator[Answers]:
    """The answers of each segment, without rows that it or an earlier segment repeats."""
    known: set[tuple[str, int]] = set()
    for line in lines:
        try:
            found = segments.answers(line["key"])
        except (SegmentDamaged, StoreError) as error:
            log.warning("a segment cannot be read", segment=line["id"], error=str(error))
            continue
        addresses = list(zip(found.prediction_id, found.row.tolist(), strict=True))
        positions = [
            position
            for position in first_copies(found.prediction_id, found.row)
            if addresses[position] not in known
        ]
        known.update(addresses)
        yield found.take(np.array(positions, dtype=np.intp))
