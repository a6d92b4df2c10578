import numpy as np

from acclimate.learning.models.tokens import Tokens

TEXT = Tokens(kind="text", buckets=1000, length=8)


def texts(*values: str) -> np.ndarray:
    return np.array([[value] for value in values], dtype=object)


def test_words_are_lower_cased_and_punctuation_is_a_token():
    tokens = TEXT.apply(texts("Check OUT, this", "check out , THIS", "this out check"))
    assert (tokens[0] == tokens[1]).all()
    assert (tokens[0] > 0).sum() == 4
    assert tokens[2, 0] == tokens[0, 3]
    assert (tokens[2] != tokens[0]).any()


def test_tokens_are_the_same_in_every_process_and_never_the_empty_one():
    assert TEXT.apply(texts("subscribe to my channel"))[0, :4].tolist() == [744, 379, 705, 880]
    assert Tokens(kind="text", buckets=2, length=3).apply(texts("a b c")).tolist() == [[1, 1, 1]]


def test_empty_and_endless_texts_are_rows_like_others():
    tokens = TEXT.apply(texts("", "   ", "word " * 100_000, "x" * 100_000))
    assert (tokens[:2] == 0).all()
    assert (tokens[2] > 0).all()
    assert (tokens[3] > 0).sum() == 1


def test_ids_of_the_user_stay_and_larger_ones_are_hashed_into_the_vocabulary():
    sequence = Tokens(kind="sequence", buckets=10, length=4)
    x = np.array([[9, 0, 3, 0], [10, 2**62, 11, 0]])
    tokens = sequence.apply(x)
    assert tokens[0].tolist() == [9, 3, 0, 0]
    assert tokens.max() < 10
    assert (tokens[1] > 0).sum() == 3


def test_rows_are_compared_by_the_words_they_hold_not_by_their_length():
    features = TEXT.features(texts("free money now", "now money free", "what a lovely song", ""))
    assert features.shape == (4, 256)
    np.testing.assert_allclose(features[0], features[1])
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), [1, 1, 1, 0], atol=1e-6)
    assert features[0] @ features[2] < 0.5
