"""Drift that is offset and scale of the columns: rows read in their own mean and deviation, as
running standardisation serves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from acclimate.learning.data import Rows, Window
from acclimate.learning.models import modes
from acclimate.learning.models.encoding import CLIP, Normalisation

if TYPE_CHECKING:
    from acclimate.learning.models.network import Bundle, Encoding

SENSORS = 0.5
"""Share of folded columns above which a vector is one of sensors."""


def fits(encoding: Encoding) -> bool:
    """Whether rows can be read so at all: vectors that the version normalises itself."""
    return isinstance(encoding, Normalisation) and encoding.kind == "vector" and not encoding.raw


def ages(encoding: Encoding) -> bool:
    """Whether such rows drift by offset and scale: vectors of which most columns are read as
    logarithms, as sensors are.
    """
    return (
        isinstance(encoding, Normalisation)
        and fits(encoding)
        and bool(encoding.folded.mean() > SENSORS)
    )


def following(bundle: Bundle, rows: Rows) -> Bundle:
    """The same networks in running standardisation that starts from mean and deviation of these
    rows. Only where it `fits`.
    """
    z = bundle.encoding.features(rows).astype(np.float64)
    return replace(
        bundle, mode=modes.standardise(z.shape[1], mean=z.mean(axis=0), deviation=z.std(axis=0))
    )


def caught_up(bundle: Bundle, rows: Rows) -> Bundle:
    """The bundle once its running standardisation has followed the traffic to these rows; in
    another mode, as it is.
    """
    return following(bundle, rows) if bundle.mode.name == "standardise" else bundle


def read(bundle: Bundle, rows: Rows) -> Rows:
    """Rows that the plain networks read as the bundle reads these in its starting state; the same
    ones in another mode.
    """
    if bundle.mode.name != "standardise":
        return rows
    assert isinstance(bundle.encoding, Normalisation), (
        "modes.problem lets no other version into this mode"
    )
    assert bundle.mode.start is not None
    mean, deviation = bundle.mode.start.numbers
    return bundle.encoding.restore(
        np.clip((bundle.encoding.features(rows) - mean) / deviation, -CLIP, CLIP)
    )


def window_read(bundle: Bundle, window: Window) -> Window:
    """The window as the bundle reads it; without labelled rows of earlier windows, whose scale
    nobody kept.
    """
    if bundle.mode.name != "standardise":
        return window
    x, held_out = (read(bundle, rows) for rows in (window.x, window.held_out))
    return replace(window, x=x, held_out=held_out, taught=None, late=None)
