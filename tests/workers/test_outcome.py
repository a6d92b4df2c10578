"""The expected answers that are stored with a version."""

from __future__ import annotations

import numpy as np
from live_rows import USUAL, answers

from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.learning.outcomes import Trained
from acclimate.learning.results import Lineage, Verdict
from workers.trainer.outcome import expectation


def trained(**expected: Behaviour) -> Trained:
    """A version of which these answers are expected; nothing else of it is read."""
    lineage = Lineage(replay_rows=(), anchor_distance=0.0)
    return Trained(student=None, verdict=Verdict(gates=()), lineage=lineage, expected=expected)


def test_the_unrest_of_the_traffic_is_that_of_the_whole_window():
    in_bursts = Behaviour.of(np.concatenate([answers(200, of_a=1.0), answers(200, of_a=0.0)]))
    assert (USUAL.unrest, in_bursts.unrest) == (0.0, 0.5)
    told = {4: {"served": {"version": 1, "answers": in_bursts.as_json()}}}
    found = expectation(trained(student=USUAL, champion=USUAL), told)
    assert found is not None and set(found) == {"student", "champion"}
    assert {Behaviour.from_json(known).unrest for known in found.values()} == {0.5}
    assert Behaviour.from_json(found["student"]).shares == USUAL.shares


def test_of_a_version_that_answered_no_rows_nothing_is_expected():
    assert expectation(trained(), {}) is None
