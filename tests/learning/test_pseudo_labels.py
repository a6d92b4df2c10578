import numpy as np
from stages import select
from turned_digits import window_of

from acclimate.learning.data import UNLABELLED, Part, Window
from acclimate.learning.training.pseudo_labels import class_thresholds


def test_accepted_rows_have_every_vote_and_the_confidence_of_their_class(anchor, parts, stream):
    window = window_of(stream.turned(15, rng=np.random.default_rng(1))[0])
    labels = select(window, anchor, parts.train)
    limits = class_thresholds(anchor.network_probabilities(window.x))
    kept = labels.accepted
    assert 0 < kept.sum() < len(kept)
    assert (labels.votes[kept] == 3).all()
    assert (labels.confidence[kept] >= limits[labels.label[kept]]).all()
    assert set(labels.refused) == {"disagreement", "low_confidence"}
    assert (labels.votes[labels.refusal == "disagreement"] < 3).all()
    unsure = labels.refusal == "low_confidence"
    assert (labels.confidence[unsure] < limits[labels.label[unsure]]).all()
    assert kept.sum() + sum(labels.refused.values()) == len(window.x)


def test_what_is_kept_is_right_more_often_than_what_is_refused(anchor, parts, stream):
    x, y = stream.turned(20, rng=np.random.default_rng(1))
    window = Window(x=x, held_out=x[:0], held_out_labels=y[:0])
    labels = select(window, anchor, parts.train)
    right = labels.label == y
    assert right[labels.accepted].mean() > right[~labels.accepted].mean() + 0.2


def test_rows_that_another_reading_calls_something_else_are_refused(anchor, parts, stream):
    window = window_of(stream.turned(15, rng=np.random.default_rng(1))[0])
    alone = select(window, anchor, parts.train)
    other = alone.label.copy()
    other[::4] = (other[::4] + 1) % 10
    both = select(window, anchor, parts.train, as_served=other)
    disputed = other != alone.label
    assert alone.accepted[disputed].any()
    assert (both.refusal[disputed] == "disagreement").all()
    assert (both.refusal[~disputed] == alone.refusal[~disputed]).all()


def test_thresholds_are_the_mean_confidence_of_the_rows_that_are_called_so():
    rows = [[0.9, 0.1, 0.0], [0.7, 0.2, 0.1], [0.4, 0.6, 0.0]]
    limits = class_thresholds(np.array(rows, dtype=np.float32))
    mean = (0.9 + 0.7 + 0.6) / 3
    np.testing.assert_allclose(limits, [0.8, 0.6, mean], rtol=1e-5)


def test_a_class_that_gets_rare_needs_as_much_confidence_as_before():
    often = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], dtype=np.float32)
    rare = np.concatenate([np.repeat(often[:1], 97, axis=0), often[1:]])
    np.testing.assert_allclose(class_thresholds(rare), class_thresholds(often), rtol=1e-5)


def test_copies_teach_as_often_as_the_seed_set_has_them(anchor, parts, stream):
    twice = Part(x=np.repeat(parts.train.x, 2, axis=0), y=np.repeat(parts.train.y, 2))
    x = np.repeat(stream.x[:40], 3, axis=0)
    window = Window(x=x, held_out=x[:0], held_out_labels=np.empty(0, dtype=np.int64))
    labels = select(window, anchor, twice)
    duplicate = (labels.refusal == "duplicate").reshape(40, 3)
    assert not duplicate[:, :2].any() and duplicate[:, 2].all()


def test_of_equal_rows_one_is_kept_and_none_that_is_held_out(anchor, parts, stream):
    x = stream.x[:40]
    none = np.full(5, UNLABELLED)
    window = Window(x=np.concatenate([x, x[:10], x[:10]]), held_out=x[30:35], held_out_labels=none)
    labels = select(window, anchor, parts.train)
    duplicate = labels.refusal == "duplicate"
    assert duplicate[40:].all()
    assert duplicate[30:35].all()
    assert duplicate.sum() == 25


def test_a_flood_of_one_row_does_not_move_the_thresholds(anchor, parts, stream):
    x = stream.turned(15, rng=np.random.default_rng(1))[0]
    calm = Window(x=x, held_out=x[:0], held_out_labels=np.empty(0, dtype=np.int64))
    flooded = Window(
        x=np.concatenate([x, np.repeat(x[:1], 2000, axis=0)]),
        held_out=x[:0],
        held_out_labels=calm.held_out_labels,
    )
    found, expected = (select(each, anchor, parts.train) for each in (flooded, calm))
    assert (found.refusal[: len(x)] == expected.refusal).all()


def test_a_window_of_one_repeated_row_teaches_too_little(anchor, parts, stream):
    x = np.repeat(stream.x[:1], 200, axis=0)
    window = Window(x=x, held_out=x[:0], held_out_labels=np.empty(0, dtype=np.int64))
    labels = select(window, anchor, parts.train)
    assert labels.too_few
    assert labels.refused["duplicate"] == 199


def test_a_window_with_nothing_to_learn_from_is_too_few_and_no_exception(anchor, parts, stream):
    window = Window(x=stream.x[:0], held_out=stream.x[:30], held_out_labels=stream.y[:30])
    labels = select(window, anchor, parts.train)
    assert labels.too_few
    assert len(labels.label) == 0
