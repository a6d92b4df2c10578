"""No client teaches more than its share; which of its rows go is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from stages import select
from turned_digits import learn, window_of

from acclimate.learning import pipeline
from acclimate.learning.data import TAUGHT, UNLABELLED, Senders, Window
from acclimate.learning.outcomes import Judged
from acclimate.learning.screening import client_quota
from acclimate.learning.spec import Policy


def kept_of(counts: list[int], share: float, *, unaccepted: int = 0) -> list[int]:
    """How many rows of each client stay, where so many of each are accepted otherwise and so many
    more of each are not.
    """
    client = np.repeat(np.arange(len(counts)), np.array(counts) + unaccepted)
    accepted = np.concatenate([np.arange(count + unaccepted) < count for count in counts])
    gone = client_quota.surplus(client, accepted, share, rng=np.random.default_rng(0))
    assert not (gone & ~accepted).any()
    return np.bincount(client[accepted & ~gone], minlength=len(counts)).tolist()


@pytest.mark.parametrize(
    ("counts", "share", "kept"),
    [
        ([900, 100], 0.5, [100, 100]),
        ([900, 100], 0.8, [400, 100]),
        ([900, 100], 0.9, [900, 100]),
        ([500, 500, 50, 50], 0.4, [200, 200, 50, 50]),
        ([70, 20, 10], 0.34, [10, 10, 10]),
        ([50, 50], 0.3, [50, 50]),
        ([50, 10], 0.3, [10, 10]),
        ([10, 10, 10], 0.01, [10, 10, 10]),
        ([900, 1], 0.5, [1, 1]),
        ([900, 0], 0.5, [0, 0]),
        ([0, 0], 0.5, [0, 0]),
    ],
)
def test_no_client_keeps_more_than_its_share_of_what_stays(counts, share, kept):
    assert kept_of(counts, share, unaccepted=7) == kept


def test_of_one_more_row_the_share_would_be_broken():
    rng = np.random.default_rng(3)
    for _ in range(200):
        counts = rng.integers(1, 60, size=rng.integers(2, 9)).tolist()
        share = float(rng.uniform(0.01, 0.99))
        limit = max(share, 1 / len(counts))
        kept = np.array(kept_of(counts, share))
        assert kept.max() <= limit * kept.sum() + 1e-6
        more = np.minimum(counts, kept.max() + 1)
        assert kept.tolist() == counts or more.max() > limit * more.sum()


def test_where_one_client_sent_all_rows_or_the_share_is_whole_nothing_goes():
    assert kept_of([900], 0.2, unaccepted=3) == [900]
    assert kept_of([900, 1], 1.0) == [900, 1]


def test_every_row_of_a_client_that_floods_stays_as_often_wherever_it_stands():
    client, accepted = np.array([0] * 20 + [1] * 5), np.ones(25, dtype=bool)
    draws = [
        ~client_quota.surplus(client, accepted, 0.5, rng=np.random.default_rng(draw))
        for draw in range(2000)
    ]
    stayed = np.sum(draws, axis=0)
    assert (stayed[20:] == 2000).all()
    expected = 2000 * 5 / 20
    chi_square = ((stayed[:20] - expected) ** 2 / (expected * (1 - 5 / 20))).sum()
    assert chi_square < 43.8  # 99.9 % of 19 degrees of freedom


def test_the_quota_refuses_with_a_reason_and_changes_no_other_reason(anchor, parts, stream):
    x = stream.turned(15, rng=np.random.default_rng(1))[0]
    client = np.where(np.arange(len(x)) < 40, 1, 0)
    window = Window(x=x, held_out=x[:0], held_out_labels=np.empty(0, dtype=np.int64), client=client)
    free, held = (select(window, anchor, parts.train, client_share=share) for share in (1.0, 0.5))
    small = int((free.accepted & (client == 1)).sum())
    assert (held.refusal[~free.accepted] == free.refusal[~free.accepted]).all()
    assert held.accepted.sum() == 2 * small and (held.accepted & (client == 1)).sum() == small
    assert held.refused["client_share"] == free.accepted.sum() - 2 * small > 0
    assert free.refused.get("client_share") is None


def test_each_row_to_learn_from_keeps_its_client_whatever_is_held_out(stream):
    labels = np.full(100, UNLABELLED)
    labels[:7] = TAUGHT
    client = np.arange(100) % 3
    senders = Senders(client=client, names=("a", "b", "c"))
    window = window_of(np.arange(100), labels=labels, senders=senders)
    assert (window.client == window.x % 3).all() and len(window.client) == len(window.x) < 93
    assert (window.held_out_client == window.held_out % 3).all()
    assert window_of(stream.x).client is None


def test_a_run_keeps_the_client_share_of_its_policy_in_every_round(anchor, parts, stream):
    x = stream.turned(7, rng=np.random.default_rng(1))[0]
    client = (np.arange(len(x)) < 60).astype(np.int64)
    window = window_of(x, senders=Senders(client=client, names=("many", "few")))
    policy = Policy(learnable="yes", client_share=0.5)
    asked = []

    def step(stage, verb, *args):
        asked.append((stage, args))
        return pipeline.plain_step(1)(stage, verb, *args)

    found = learn(window, parts, anchor, anchor, policy=policy, step=step)
    accepted = found.labels.accepted
    assert isinstance(found, Judged) and found.labels.refused["client_share"] > 0
    assert np.bincount(window.client[accepted]).max() * 2 <= accepted.sum()
    lesson = dict(asked)["train"][0]
    assert lesson.candidates.client_share == 0.5
