"""Notes for each test of a rule which rule it switches off, so that none is forgotten."""

from __future__ import annotations

from collections.abc import Callable

from acclimate.learning.results import Effect
from acclimate.learning.thresholds import Thresholds

TESTED: set[str] = set()
"""The rules that a test of the modules imported so far switches off."""

Test = Callable[..., None]


def covers(*rules: str) -> Callable[[Test], Test]:
    """Notes which rules a test switches off."""

    def noted(test: Test) -> Test:
        TESTED.update(rules)
        return test

    return noted


def without(rule: str) -> Thresholds:
    """The default limits with one rule off."""
    return Thresholds(off=frozenset({rule}))


def effect(value: float, threshold: float = 1.0) -> Effect:
    return Effect(value=value, threshold=threshold, n=300)
