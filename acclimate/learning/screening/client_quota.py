"""Who sent the rows: no client may teach more than its share of what is learnt. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Integers

ROUNDING = 1e-9


def surplus(
    client: Integers, accepted: NDArray[np.bool_], share: float, *, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which accepted rows (N,) must go so that no client teaches more than `share` of those that
    stay; client (N,) int64.

    Where one client sent all rows there is no limit. k clients with accepted rows cannot all keep
    below 1/k: a smaller share counts as 1/k (at least two), so that equal clients lose nothing.
    Each client keeps as many rows as the one with most may, and which ones is drawn uniformly:
    neither order nor confidence helps a row to stay. Few rows of the others leave few of a client
    that floods, and none of it where the others have none: it would teach alone.
    """
    out = np.zeros(len(client), dtype=bool)
    if share >= 1 or len(np.unique(client)) < 2:
        return out
    senders, counts = np.unique(client[accepted], return_counts=True)
    most = _most(counts, max(share, 1 / max(2, len(senders))))
    for sender in senders[counts > most]:
        rows = np.flatnonzero(accepted & (client == sender))
        out[rng.permutation(rows)[most:]] = True
    return out


def _most(counts: Integers, share: float) -> int:
    """The largest number of rows that is no more than the share of all that stay, where no client
    keeps more than it.
    """
    at_least = np.bincount(counts)[::-1].cumsum()[::-1][
        1:
    ]  # at_least[m - 1]: clients that have m rows or more
    kept = np.cumsum(at_least)  # kept[m - 1]: rows that stay where each client keeps m at most
    fits = np.arange(1, len(kept) + 1) <= share * kept + ROUNDING
    return int(np.flatnonzero(fits).max(initial=-1)) + 1
