import numpy as np
from scipy import stats
from turned_digits import spec

from acclimate.learning import augment, loop
from acclimate.learning.replay import Replay
from acclimate.learning.values import Part


def test_strong_noise_has_the_deviation_asked_for():
    z = np.zeros((500, 40), dtype=np.float32)
    noise = augment.strong(z, noise=0.15, mixed=0.1, rng=np.random.default_rng(0))
    assert stats.kstest(noise.ravel() / 0.15, "norm").pvalue > 0.001


def test_a_tenth_of_the_features_comes_from_another_row_of_the_batch():
    z = np.repeat(np.arange(200, dtype=np.float32)[:, None], 100, axis=1)
    changed = augment.strong(z, noise=0.0, mixed=0.1, rng=np.random.default_rng(0))
    foreign = changed != z
    others = int(foreign.any(axis=1).sum())  # a row may meet itself
    assert stats.binomtest(int(foreign.sum()), others * 100, 0.1).pvalue > 0.001
    assert all(len(set(row[mask])) == 1 for row, mask in zip(changed, foreign, strict=True) if mask.any())


def test_augmenting_leaves_the_given_rows_alone():
    z = np.ones((10, 4), dtype=np.float32)
    augment.strong(z, noise=0.5, mixed=0.5, rng=np.random.default_rng(0))
    assert (z == 1).all()


def test_a_version_of_one_member_votes_with_weak_views(parts):
    alone = loop.begin(spec(members=1), parts, step=loop.plain_step(0)).student
    views = augment.opinions(alone, parts.judging.x, rng=np.random.default_rng(0))
    assert views.shape == (augment.VIEWS, len(parts.judging), 10)
    assert (views[0] == alone.probabilities(parts.judging.x)).all()
    assert not (views[1] == views[0]).all()
    assert 0.9 < (views[1].argmax(axis=1) == views[0].argmax(axis=1)).mean() <= 1


def test_replay_draws_every_trusted_row_with_the_same_chance():
    trusted = Part(x=np.arange(50, dtype=np.float32)[:, None], y=np.arange(50))
    drawn = Replay(trusted=trusted).draw(20_000, rng=np.random.default_rng(0))
    assert (drawn.x[:, 0] == drawn.y).all()
    assert stats.chisquare(np.bincount(drawn.y, minlength=50)).pvalue > 0.001
