import numpy as np

from acclimate.learning import normalise


def columns(rows: int = 2000) -> np.ndarray:
    rng = np.random.default_rng(0)
    normal = 5 + 2 * rng.standard_normal(rows)
    heavy = 1000 * np.exp(2 * rng.standard_normal(rows))
    uniform = rng.uniform(0, 255, rows)
    both_tails = 50 * rng.standard_t(1.5, rows)
    constant = np.full(rows, 7.0)
    return np.column_stack([normal, heavy, uniform, both_tails, constant]).astype(np.float32)


def test_heavy_tails_alone_are_folded():
    assert normalise.fit(columns()).folded.tolist() == [False, True, False, True, False]


def test_varying_columns_have_mean_0_and_deviation_1_on_the_training_part():
    z = normalise.fit(columns()).apply(columns())[:, :4]
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=0.01)
    np.testing.assert_allclose(z.std(axis=0), 1, atol=0.02)


def test_a_column_that_was_constant_says_nothing_ever_after():
    fitted = normalise.fit(columns())
    moved = columns()
    moved[:, 4] = 1e6
    assert (fitted.apply(moved)[:, 4] == 0).all()


def test_extreme_numbers_stay_finite_and_within_six_deviations():
    fitted = normalise.fit(columns())
    extreme = np.array([[3e38] * 5, [-3e38] * 5], dtype=np.float32)
    z = fitted.apply(extreme)
    assert np.isfinite(z).all()
    assert np.abs(z).max() <= 6


def test_small_units_are_not_taken_for_constant():
    x = 1e-9 * columns()[:, :1]
    np.testing.assert_allclose(normalise.fit(x).apply(x).std(), 1, atol=0.02)


def test_a_row_alone_is_normalised_as_among_others():
    fitted, x = normalise.fit(columns()), columns()
    assert (fitted.apply(x[3:4]) == fitted.apply(x)[3:4]).all()
