"""No client teaches more than its share, which rows go is drawn, and what cannot be met is not
asked.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from turned_digits import window_of

from acclimate.learning import pipeline
from acclimate.learning.data import TAUGHT, UNLABELLED, Window
from acclimate.learning.screening import client_quota
from acclimate.learning.spec import Gates, Policy
from acclimate.learning.training.pseudo_labels import choose


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


def test_of_one_more_row_the_share_would_be_broken() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        counts = rng.integers(1, 60, size=rng.integers(2, 9)).tolist()
        share = float(rng.uniform(0.01, 0.99))
        limit = max(share, 1 / len(counts))
        kept = np.array(kept_of(counts, share))
        assert kept.max() <= limit * kept.sum() + 1e-6
        more = np.minimum(counts, kept.max() + 1)
        assert kept.tolist() == counts or more.max() > limit * more.sum()


def test_where_one_client_sent_all_rows_or_the_share_is_whole_nothing_goes() -> None:
    assert kept_of([900], 0.2, unaccepted=3) == [900]
    assert kept_of([900, 1], 1.0) == [900, 1]


def test_every_row_of_a_client_that_floods_stays_as_often_wherever_it_stands() -> None:
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


def test_a_refused_row_has_the_reason_and_rows_refused_for_another_keep_theirs(
    anchor, parts, stream
) -> None:
    x = stream.turned(15, rng=np.random.default_rng(1))[0]
    client = np.where(np.arange(len(x)) < 40, 1, 0)
    window = Window(x=x, held_out=x[:0], held_out_labels=np.empty(0, dtype=np.int64), client=client)
    free, held = (
        choose(
            window,
            anchor,
            parts.train,
            share,
            rng=np.random.default_rng(0),
            tick=lambda done, total: None,
        )
        for share in (1.0, 0.5)
    )
    small = int((free.accepted & (client == 1)).sum())
    assert (held.refusal[~free.accepted] == free.refusal[~free.accepted]).all()
    assert held.accepted.sum() == 2 * small and (held.accepted & (client == 1)).sum() == small
    assert held.refused["client_share"] == free.accepted.sum() - 2 * small > 0
    assert free.refused.get("client_share") is None


def test_each_row_to_learn_from_keeps_its_client_whatever_is_held_out_and_however_it_is_read(
    anchor, stream
) -> None:
    labels = np.full(100, UNLABELLED)
    labels[:7] = TAUGHT
    client = np.arange(100) % 3
    window = Window.split(np.arange(100), labels, rng=np.random.default_rng(0), client=client)
    assert (window.client == window.x % 3).all() and len(window.client) == len(window.x) < 93
    read = rescale.window_read(
        rescale.following(anchor, stream.x),
        replace(window, x=stream.x[window.x], held_out=stream.x[:5]),
    )
    assert (read.client == window.client).all()
    assert window_of(stream.x).client is None


def test_a_turn_goes_by_the_share_of_its_policy(anchor, parts, stream) -> None:
    x = stream.turned(7, rng=np.random.default_rng(1))[0]
    none = np.full(len(x), UNLABELLED)
    window = Window.split(
        x, none, rng=np.random.default_rng(0), client=(np.arange(len(x)) < 60).astype(np.int64)
    )
    policy = Policy(learnable="yes", client_share=0.5)
    asked = []

    def step(stage, verb, *args):
        asked.append((stage, args))
        return pipeline.plain_step(1)(stage, verb, *args)

    turn = pipeline.turn(window, parts, anchor, anchor, policy, Gates(), step=step)
    assert turn.student is not None and turn.labels.refused["client_share"] > 0
    assert np.bincount(window.client[turn.labels.accepted]).max() * 2 <= turn.labels.accepted.sum()
    assert dict(asked)["train"][-1] == 0.5
