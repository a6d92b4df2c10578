"""Drift of offset and scale: does the residual go where columns are read in their own scale?"""

from __future__ import annotations

from dataclasses import replace

from acclimate.learning.data import Rows
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.encoding import Normalisation
from acclimate.learning.models.modes import Standardised
from acclimate.learning.thresholds import DEFAULT, Thresholds


def may_age(bundle: Bundle, limits: Thresholds = DEFAULT) -> bool:
    """Whether rows may drift by offset and scale as sensors do: most columns are log-scaled."""
    encoding = bundle.encoding
    if not isinstance(encoding, Normalisation) or not encoding.rescalable:
        return False
    return encoding.folded_share > limits.folded_columns


def in_own_scale(bundle: Bundle, rows: Rows) -> Bundle:
    """The same networks, reading rows in mean and deviation of these. Where it is `rescalable`."""
    return replace(bundle, mode=Standardised.following(bundle.encoding, rows))
