"""The teachers' labels of a window: what deserves trust is kept, and every refusal has a reason."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Floats, Integers, Part, PseudoLabels, Rows, Window
from acclimate.learning.models import augment
from acclimate.learning.models.network import Bundle
from acclimate.learning.screening import client_quota, outliers
from acclimate.learning.screening.duplicates import repeated

NEEDED_SHARE = 0.1
NEEDED_ROWS = 8


def choose(
    window: Window,
    champion: Bundle,
    trusted: Part,
    client_share: float = 1.0,
    as_served: Integers | None = None,
    unvouched: NDArray[np.bool_] | None = None,
    *,
    isolated: NDArray[np.bool_] | None = None,
    rng: np.random.Generator,
    tick: Callable[[int, int], None],
) -> PseudoLabels:
    """Hard labels from the mean of the champion's calibrated members, of which those all members
    agree on and are sure of stay.

    Refusals, the first that holds: `duplicate` (the row stands in the window already, or is held
    out, so that a repeated row teaches once and what judges never trains), `few_senders`
    (`Window.apart`: nothing is measured on those), `isolated` (almost no other row of the window
    lies near it, and no trusted one: `density.isolated`, or as the caller knows already),
    `unvouched` (as the caller says: `crowd.unvouched`), `disagreement` (of the members, or with the
    labels `as_served` (N,) of another reading of the rows), `low_confidence` (below the
    class-relative threshold of `thresholds`, measured on the rows that the first two reasons left),
    `client_share` (accepted otherwise, but one client would teach more than that share of what is
    accepted: `clients.surplus`).
    """
    opinions_VNC = augment.opinions(champion, window.x, rng=rng)
    mean_NC = opinions_VNC.mean(axis=0)
    label = mean_NC.argmax(axis=1).astype(np.int64)
    confidence = mean_NC.max(axis=1)
    votes = (opinions_VNC.argmax(axis=2) == label).sum(axis=0).astype(np.int64)
    duplicate = repeated(window.x, window.held_out)
    apart = np.zeros_like(duplicate) if window.apart is None else window.apart[: len(duplicate)]
    counted = ~(duplicate | apart)
    limit = thresholds(mean_NC[counted])[label]
    if isolated is None:
        isolated = _isolated(window.x, counted, champion, trusted, rng)
    disputed = votes < len(opinions_VNC)
    if as_served is not None:
        disputed |= as_served != label
    refusal = np.select(
        [
            duplicate,
            apart,
            isolated,
            np.zeros_like(duplicate) if unvouched is None else unvouched,
            disputed,
            ~(confidence >= limit),
        ],
        ["duplicate", "few_senders", "isolated", "unvouched", "disagreement", "low_confidence"],
        "",
    )
    if window.client is not None:
        surplus = client_quota.surplus(window.client, refusal == "", client_share, rng=rng)
        refusal = np.where(surplus, "client_share", refusal)
    tick(len(label), len(label))
    return PseudoLabels(
        label=label,
        confidence=confidence.astype(np.float32),
        votes=votes,
        refusal=refusal,
        needed=max(NEEDED_ROWS, math.ceil(NEEDED_SHARE * len(label))),
    )


def thresholds(probabilities_NC: Floats) -> Floats:
    """The confidence (C,) that a row of each class needs: FreeMatch (Wang et al. 2023), over one
    window.

    The global threshold is the mean confidence; a class that the teachers see less, or less surely,
    than the one they see most needs proportionally less.
    """
    if not len(probabilities_NC):
        return np.zeros(probabilities_NC.shape[1], dtype=np.float32)
    expected = probabilities_NC.mean(axis=0)
    tau = probabilities_NC.max(axis=1).mean()
    return np.asarray(expected / expected.max() * tau, dtype=np.float32)


def _isolated(
    x: Rows, counted: NDArray[np.bool_], champion: Bundle, trusted: Part, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Of the counted rows those that `density.isolated` finds, in the inputs as the version reads
    them.

    Not in what its members say of the rows: where they know nothing they say what they say of known
    rows.
    """
    out = np.zeros(len(x), dtype=bool)
    if counted.any():
        features = champion.encoding.features
        out[counted] = outliers.isolated(features(x[counted]), features(trusted.x), rng=rng)
    return out
