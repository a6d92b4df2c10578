"""Euclidean distances between many rows, in chunks of bounded memory. numpy only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Integers

CHUNK = 1024

Numbers = NDArray[Any]


def squared_distances(
    rows: Numbers, others: Numbers, *, chunk: int = CHUNK
) -> Iterator[tuple[slice, Numbers]]:
    """Chunks of rows (N, F) with their squared distances (n, K) to all others (K, F).

    Rounding may leave a distance slightly below 0.
    """
    norms = (others**2).sum(axis=1)
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        own = (part**2).sum(axis=1)[:, None]
        yield slice(start, start + len(part)), own + norms - 2 * part @ others.T


def distance_to_neighbour(
    rows: Numbers, others: Numbers, same: NDArray[np.integer[Any]], *, neighbour: int
) -> NDArray[np.float64]:
    """Distance (N,) from each row to its `neighbour`-th nearest of the others.

    others[i] is row same[i] itself, which does not count.
    """
    position = np.full(len(rows), -1)
    position[same] = np.arange(len(same))
    out = np.empty(len(rows))
    for part, squares in squared_distances(rows, others):
        own = np.flatnonzero(position[part] >= 0)
        squares[own, position[part][own]] = np.inf
        out[part] = np.partition(squares, neighbour - 1, axis=1)[:, neighbour - 1]
    return np.sqrt(np.maximum(out, 0))


def nearest(rows: Numbers, others: Numbers, count: int) -> Iterator[tuple[slice, Integers]]:
    """Chunks of rows with the indices (n, count) of their nearest others, in no order."""
    for part, squares in squared_distances(rows, others):
        yield part, np.argpartition(squares, count - 1, axis=1)[:, :count]


def knn_label(rows: Numbers, trusted: Numbers, y: Integers, *, neighbours: int) -> Integers:
    """The class (N,) that most of the nearest trusted rows (K, F) of each row (N, F) have.

    Of equally many the first class.
    """
    votes = np.zeros((len(rows), int(y.max(initial=0)) + 1), dtype=np.int64)
    for part, chosen in nearest(rows, trusted, min(neighbours, len(trusted))):
        index = np.arange(part.start, part.stop)
        for column in chosen.T:
            votes[index, y[column]] += 1
    return np.asarray(votes.argmax(axis=1), dtype=np.int64)
