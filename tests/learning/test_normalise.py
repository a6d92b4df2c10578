import numpy as np

from acclimate.learning.models import encoding
from acclimate.learning.spec import InputSpec


def fit(x: np.ndarray, kind: str = "vector", *, raw: bool = False) -> encoding.Normalisation:
    return encoding.fit(x, InputSpec(kind=kind, shape=x.shape[1:], classes=("a", "b")), raw=raw)


def columns(rows: int = 2000) -> np.ndarray:
    rng = np.random.default_rng(0)
    normal = 5 + 2 * rng.standard_normal(rows)
    heavy = 1000 * np.exp(2 * rng.standard_normal(rows))
    uniform = rng.uniform(0, 255, rows)
    both_tails = 50 * rng.standard_t(1.5, rows)
    constant = np.full(rows, 7.0)
    return np.column_stack([normal, heavy, uniform, both_tails, constant]).astype(np.float32)


def test_heavy_tails_alone_are_folded():
    assert fit(columns()).folded.tolist() == [False, True, False, True, False]


def test_varying_columns_have_mean_0_and_deviation_1_on_the_training_part():
    z = fit(columns()).apply(columns())[:, :4]
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=0.01)
    np.testing.assert_allclose(z.std(axis=0), 1, atol=0.02)


def test_a_column_that_was_constant_says_nothing_ever_after():
    fitted = fit(columns())
    moved = columns()
    moved[:, 4] = 1e6
    assert (fitted.apply(moved)[:, 4] == 0).all()


def test_extreme_numbers_stay_finite_and_within_six_deviations():
    fitted = fit(columns())
    extreme = np.array([[3e38] * 5, [-3e38] * 5], dtype=np.float32)
    z = fitted.apply(extreme)
    assert np.isfinite(z).all()
    assert np.abs(z).max() <= 6


def test_small_units_are_not_taken_for_constant():
    x = 1e-9 * columns()[:, :1]
    np.testing.assert_allclose(fit(x).apply(x).std(), 1, atol=0.02)


def test_a_row_alone_is_normalised_as_among_others():
    fitted, x = fit(columns()), columns()
    assert (fitted.apply(x[3:4]) == fitted.apply(x)[3:4]).all()


def pictures(*shape: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    channels = 10.0 ** np.arange(shape[0])[:, None, None] if len(shape) == 3 else 1.0
    return (channels * rng.gamma(0.3, 100, size=(300, *shape))).astype(np.float32)


def test_images_are_scaled_channel_by_channel_and_never_folded():
    x = pictures(3, 8, 9)
    fitted = fit(x, "image")
    assert not fitted.folded.any()
    assert all(len(set(channel.tolist())) == 1 for channel in fitted.scale.reshape(3, -1))
    z = fitted.apply(x)
    assert z.shape == x.shape
    assert np.abs(z.mean(axis=(0, 2, 3))).max() < 0.1  # a little is clipped


def test_a_moved_image_is_scaled_as_before():
    x = pictures(8, 8)
    fitted = fit(x, "image")
    assert (fitted.apply(np.roll(x, 2, axis=2)) == np.roll(fitted.apply(x), 2, axis=2)).all()


def test_brought_weights_read_numbers_as_they_came_and_rows_are_compared_on_a_scale():
    fitted = fit(columns(), raw=True)
    assert (fitted.apply(columns()) == columns()).all()
    np.testing.assert_allclose(fitted.features(columns())[:, 2].std(), 1, atol=0.02)
    np.testing.assert_allclose(fitted.unit[2], columns()[:, 2].std(), rtol=0.01)
    assert fitted.unit[4] == 0


def test_rows_within_the_clip_come_back_from_their_features_beside_columns_of_large_numbers():
    x = columns()
    x[:, 2] = 1e30 * x[:, 0]
    fitted = fit(x)
    z = fitted.features(x)
    assert fitted.folded[[1, 3]].all()
    inside = (np.abs(z) < encoding.CLIP).all(axis=1)
    np.testing.assert_allclose(fitted.restore(z)[inside], x[inside], rtol=1e-3, atol=1e-2)
