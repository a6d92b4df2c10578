import numpy as np
import pytest
from scipy import stats
from turned_digits import DIGITS

from acclimate.learning import seed_split
from acclimate.learning.spec import InputSpec

TWO = InputSpec(kind="vector", shape=(2,), classes=("no", "yes"))


def rows(count: int = 16) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(2 * count, dtype=np.float32).reshape(count, 2), np.arange(count) % 2


def problems(x: object, y: object) -> list[tuple[str, str]]:
    with pytest.raises(seed_split.SeedError) as error:
        seed_split.split(x, y, TWO, rng=np.random.default_rng(0))
    return [(problem.pointer, problem.detail) for problem in error.value.problems]


def test_every_row_lands_in_exactly_one_part(stream):
    parts = seed_split.split(stream.seed_x, stream.seed_y, DIGITS, rng=np.random.default_rng(3))
    together = np.concatenate(
        [np.column_stack([p.x, p.y]) for p in (parts.train, parts.calibration, parts.judging)]
    )
    original = np.column_stack([stream.seed_x, stream.seed_y])
    assert sorted(map(bytes, together.astype(np.float32))) == sorted(
        map(bytes, original.astype(np.float32))
    )


def test_parts_have_50_20_and_30_percent_of_every_class(stream, parts):
    for digit in range(10):
        total = int((stream.seed_y == digit).sum())
        for part, share in ((parts.train, 0.5), (parts.calibration, 0.2), (parts.judging, 0.3)):
            assert abs(int((part.y == digit).sum()) - share * total) <= 1


def test_eight_rows_of_a_class_leave_two_in_every_part():
    x, y = rows(16)
    parts = seed_split.split(x, y, TWO, rng=np.random.default_rng(0))
    for part in (parts.train, parts.calibration, parts.judging):
        assert np.bincount(part.y).min() >= 2


def test_each_row_trains_in_half_of_the_draws():
    x, y = rows(40)
    draws = 1000
    trained = np.zeros(40)
    for draw in range(draws):
        chosen = seed_split.split(x, y, TWO, rng=np.random.default_rng(draw)).train.x[:, 0] / 2
        trained[chosen.astype(int)] += 1
    # Each class draws 10 of its 20 without replacement: counts vary less than binomially by (1 -
    # 1/2) / (1 - 1/20).
    statistic = float(((trained - draws / 2) ** 2 / (draws / 4)).sum()) * 19 / 20
    assert 0.001 < stats.chi2.sf(statistic, df=38) < 0.999


def test_wrong_shape_is_refused_with_the_right_one():
    _, y = rows()
    [(pointer, detail)] = problems(np.zeros((16, 3)), y)
    assert pointer == "#/seed/x"
    assert "[16, 3]" in detail
    assert "[rows, 2]" in detail


def test_text_instead_of_numbers_is_refused():
    _, y = rows()
    assert problems(np.full((16, 2), "a"), y)[0][0] == "#/seed/x"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_a_value_that_is_no_finite_float32_is_refused_with_its_place(bad):
    x, y = rows()
    wide = x.astype(np.float64)
    wide[5, 1] = wide[9, 0] = bad
    [(pointer, detail)] = problems(wide, y)
    assert pointer == "#/seed/x"
    assert "row 5" in detail
    assert "position 1" in detail
    assert "2 such rows" in detail


@pytest.mark.parametrize("kind", [np.float32, np.str_])
def test_labels_that_are_no_integers_are_refused(kind):
    x, y = rows()
    [(pointer, detail)] = problems(x, y.astype(kind))
    assert pointer == "#/seed/y"
    assert "0 to 1" in detail


def test_labels_out_of_range_are_named():
    x, y = rows()
    y[3], y[4] = 7, -1
    [(pointer, detail)] = problems(x, y)
    assert pointer == "#/seed/y"
    assert "-1, 7" in detail
    assert "0 to 1" in detail


def test_a_scarce_class_is_named_with_what_it_has_and_needs():
    x, y = rows(20)
    y[:] = 0
    y[:5] = 1
    assert problems(x, y) == [("#/seed/y", "class 'yes' (label 1) has 5 rows, needs 8")]


def test_all_problems_are_reported_at_once():
    x, _ = rows(20)
    found = problems(np.full((20, 3), 0.0), np.append(np.zeros(15, dtype=int), 1))
    assert [pointer for pointer, _ in found] == ["#/seed/x", "#/seed/y"]
    found = problems(x, np.zeros(19, dtype=int))
    assert any("19 labels for 20 rows" in detail for _, detail in found)
    assert any("has 0 rows, needs 8" in detail for _, detail in found)


def test_an_empty_seed_set_is_refused_not_an_exception_of_numpy():
    found = problems(np.zeros((0, 2)), np.zeros(0, dtype=int))
    assert len(found) == 2


TEXT = InputSpec(kind="text", shape=(1,), classes=("no", "yes"))
SEQUENCE = InputSpec(kind="sequence", shape=(3,), classes=("no", "yes"))


def problem_of(x: object, spec: InputSpec) -> str:
    with pytest.raises(seed_split.SeedError) as error:
        seed_split.split(x, np.arange(16) % 2, spec, rng=np.random.default_rng(0))
    [problem] = error.value.problems
    assert problem.pointer == "#/seed/x"
    return problem.detail


@pytest.mark.parametrize("shape", [(16,), (16, 1)])
def test_texts_are_split_like_numbers(shape):
    x = np.array([f"text {i}" for i in range(16)]).reshape(shape)
    parts = seed_split.split(x, np.arange(16) % 2, TEXT, rng=np.random.default_rng(0))
    together = np.concatenate([part.x for part in (parts.train, parts.calibration, parts.judging)])
    assert together.dtype == object
    assert sorted(together[:, 0].tolist()) == sorted(x.reshape(-1).tolist())


def test_what_is_no_text_is_refused():
    assert "give strings" in problem_of(np.arange(16), TEXT)
    assert "give strings" in problem_of(np.array(["a", None] * 8, dtype=object), TEXT)
    assert "one string a row" in problem_of(np.array([["a", "b"]] * 16), TEXT)
    assert "row 1 cannot be written in UTF-8" in problem_of(
        np.array(["a", "\ud800"] * 8, dtype=object), TEXT
    )


def test_token_ids_stay_exact():
    x = np.full((16, 3), 2**53 + 1)
    parts = seed_split.split(x, np.arange(16) % 2, SEQUENCE, rng=np.random.default_rng(0))
    assert parts.train.x.dtype == np.int64
    assert (parts.train.x == 2**53 + 1).all()


def test_what_is_no_token_id_is_refused():
    assert "give token ids" in problem_of(np.zeros((16, 3)), SEQUENCE)
    assert "[rows, 3]" in problem_of(np.zeros((16, 4), dtype=int), SEQUENCE)
    assert "below 0" in problem_of(np.array([[1, 2, 3], [1, -2, 3]] * 8), SEQUENCE)
