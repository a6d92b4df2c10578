"""Single stages of a run with fixed randomness, for tests that need no whole run."""

from __future__ import annotations

from typing import Any

import numpy as np

from acclimate.learning.data import Part, PseudoLabels, SeedSet, Window
from acclimate.learning.drift.detector import detect
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.results import Drift, Screening
from acclimate.learning.screening import contamination
from acclimate.learning.spec import Policy
from acclimate.learning.thresholds import DEFAULT, Thresholds
from acclimate.learning.training.pseudo_labels import Candidates
from acclimate.learning.training.pseudo_labels import select as select_labels


def silent(done: int, total: int) -> None:
    """Progress that nobody reads."""


def screen(
    window: Window,
    seed: SeedSet,
    champion: Bundle,
    anchor: Bundle,
    *,
    policy: Policy | None = None,
    limits: Thresholds = DEFAULT,
) -> Screening:
    """The suspect rows of the window, under the default policy unless one is given."""
    return contamination.screen(
        window, seed, champion, anchor, policy or Policy(), tick=silent, limits=limits
    )


def diagnose(
    window: Window,
    seed: SeedSet,
    champion: Bundle,
    anchor: Bundle,
    *,
    limits: Thresholds = DEFAULT,
) -> Drift:
    """The drift of the window, screened under the default policy before; nothing is set aside."""
    screening = screen(window, seed, champion, anchor, limits=limits)
    rng = np.random.default_rng(0)
    return detect(window, seed, champion, anchor, screening, rng=rng, tick=silent, limits=limits)


def select(
    window: Window, teacher: Bundle, trusted: Part, limits: Thresholds = DEFAULT, **known: Any
) -> PseudoLabels:
    """The teacher's labels of the window; `known` are arguments of `Candidates.of`."""
    candidates = Candidates.of(window, trusted, limits=limits, **known)
    rng = np.random.default_rng(0)
    return select_labels(window, teacher, trusted, candidates, rng=rng, tick=silent, limits=limits)
