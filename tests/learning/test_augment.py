import numpy as np
import pytest
from scipy import stats
from turned_digits import spec

from acclimate.learning import pipeline
from acclimate.learning.data import Part
from acclimate.learning.models import augment, networks
from acclimate.learning.models.modes import Encoding
from acclimate.learning.models.tokens import Tokens
from acclimate.learning.spec import InputSpec, NetworkSpec
from acclimate.learning.training.replay import Replay

TOKENS = Tokens(kind="sequence", buckets=500, length=40)


def encoding(kind: str, x: np.ndarray) -> Encoding:
    spec = InputSpec(kind=kind, shape=x.shape[1:], classes=("a", "b"))
    return networks.fit_encoding(x, spec, NetworkSpec(network="mlp"))


def changed(kind: str, z: np.ndarray, strength: float = 1.0) -> np.ndarray:
    return augment.strong(z, encoding(kind, z), strength=strength, rng=np.random.default_rng(0))


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_strong_noise_has_the_deviation_asked_for(strength):
    z = np.zeros((500, 40), dtype=np.float32)
    assert (
        stats.kstest(changed("vector", z, strength).ravel() / (0.15 * strength), "norm").pvalue
        > 0.001
    )


def test_a_tenth_of_the_columns_comes_from_another_row_of_the_batch():
    z = np.repeat(10 * np.arange(200, dtype=np.float32)[:, None], 100, axis=1)
    foreign = np.abs(changed("vector", z) - z) > 5  # noise is far smaller
    others = int(foreign.any(axis=1).sum())  # a row may meet itself
    assert stats.binomtest(int(foreign.sum()), others * 100, 0.1).pvalue > 0.001


def spot(row: int, column: int) -> np.ndarray:
    image = np.zeros((400, 21, 21), dtype=np.float32)
    image[:, row - 1 : row + 2, column - 1 : column + 2] = 100.0
    return image


def centres(images: np.ndarray) -> np.ndarray:
    weight = np.clip(images, 0, None).reshape(len(images), -1)
    places = np.stack(np.meshgrid(np.arange(21), np.arange(21), indexing="ij"), axis=-1).reshape(
        -1, 2
    )
    return weight @ places / weight.sum(axis=1, keepdims=True) - 10


def test_images_are_turned_zoomed_and_moved_within_their_bounds():
    out = centres(changed("image", spot(10, 17)))
    reach = 7 * 1.1 + 21 * augment.MOVE * 1.5  # zoom and movement, and the wobble of interpolation
    assert (
        0.5
        < np.abs(out[:, 0]).max()
        < 7 * np.sin(np.radians(augment.DEGREES)) * 1.1 + 21 * augment.MOVE + 0.5
    )
    assert out[:, 1].max() < reach
    middle = centres(changed("image", spot(10, 10)))
    assert (
        0.5 < np.abs(middle).max() <= 21 * augment.MOVE * 1.1 + 0.5
    )  # turning and zooming leave the middle where it is


def test_a_wide_image_turns_without_being_stretched():
    image = np.zeros((200, 20, 60), dtype=np.float32)
    image[:, 9:11, 20:40] = 100.0
    lengths = [np.ptp(np.argwhere(out > 50), axis=0) for out in changed("image", image)]
    assert 15 < np.mean([np.hypot(*length) for length in lengths]) < 25


def test_a_fifth_of_the_tokens_is_left_out_and_the_others_keep_their_order():
    z = np.tile(np.arange(1, 41), (500, 1))
    out = augment.strong(z, TOKENS, strength=1.0, rng=np.random.default_rng(0))
    assert stats.binomtest(int((out == 0).sum()), out.size, 0.2).pvalue > 0.001
    for row in out:
        kept = row[row > 0]
        assert (np.diff(kept) > 0).all()
        assert (row[len(kept) :] == 0).all()


def test_a_row_of_one_token_keeps_it():
    z = np.zeros((300, 40), dtype=np.int64)
    z[:, 0] = 7
    assert (augment.strong(z, TOKENS, strength=1.0, rng=np.random.default_rng(0)) == z).all()


@pytest.mark.parametrize(
    ("kind", "shape"), [("vector", (4,)), ("image", (8, 8)), ("image", (2, 8, 8))]
)
def test_augmenting_leaves_the_given_rows_alone(kind, shape):
    z = np.ones((10, *shape), dtype=np.float32)
    assert changed(kind, z).shape == z.shape
    assert (z == 1).all()
    assert changed(kind, z, 0.0) is z


def test_the_strength_is_the_largest_that_keeps_classes_of_unseen_rows():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=4000)
    z = np.stack([y * 2.0 - 1] * 9 + [rng.standard_normal(4000)], axis=1).astype(np.float32)
    reads = encoding("vector", z)

    def sure(z: np.ndarray) -> np.ndarray:
        score = z[:, :9].mean(axis=1)
        return np.stack([-score, score], axis=1)

    def brittle(
        z: np.ndarray,
    ) -> np.ndarray:  # right only on rows that stand exactly where they stood
        return np.where(np.abs(np.abs(z[:, :1]) - 1) < 1e-6, sure(z), -sure(z))

    assert augment.strongest_kept(lambda strength: sure, z, y, reads, rng) == 1.0
    assert augment.strongest_kept(lambda strength: brittle, z, y, reads, rng) == 0.0
    assert (
        augment.strongest_kept(
            lambda strength: brittle if strength > 0.5 else sure, z, y, reads, rng
        )
        == 0.5
    )


def test_a_version_of_one_member_votes_with_weak_views(parts):
    alone = pipeline.begin(spec(members=1), parts, step=pipeline.plain_step(0)).student
    views = augment.votes(alone, parts.judging.x, rng=np.random.default_rng(0))
    assert views.shape == (augment.VIEWS, len(parts.judging), 10)
    assert (views[0] == alone.network_probabilities(parts.judging.x)).all()
    assert not (views[1] == views[0]).all()
    assert 0.9 < (views[1].argmax(axis=1) == views[0].argmax(axis=1)).mean() <= 1


def test_replay_draws_every_trusted_row_with_the_same_chance():
    trusted = Part(x=np.arange(50, dtype=np.float32)[:, None], y=np.arange(50))
    drawn = Replay(trusted=trusted).draw(20_000, rng=np.random.default_rng(0))
    assert (drawn.x[:, 0] == drawn.y).all()
    assert stats.chisquare(np.bincount(drawn.y, minlength=50)).pvalue > 0.001
