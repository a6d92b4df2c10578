"""Which rows' labels are asked for: a stable, uniform draw of known probability."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from scipy import stats

from acclimate.learning.label_sampling import choose, priorities

N, LIMIT, DRAWS = 120, 25, 2000
IDS = [f"request-{number // 4}" for number in range(N)]
ROWS = (np.arange(N) % 4).astype(np.int32)


def draw(window: int, *, labelled: np.ndarray | None = None, n: int = N, limit: int = LIMIT):
    known = np.zeros(n, dtype=bool) if labelled is None else labelled
    return choose(
        priorities(IDS[:n], ROWS[:n], key=f"model w-{window}"),
        lambda places: known[places],
        limit=limit,
    )


def test_every_row_is_drawn_equally_often_and_as_often_as_the_propensity_says():
    counts = np.zeros(N)
    pairs = 0
    for window in range(DRAWS):
        asked = draw(window)
        assert (
            len(asked.places) == LIMIT == len(set(asked.places.tolist()))
            and asked.propensity == LIMIT / N
        )
        counts[asked.places] += 1
        pairs += {0, 1} <= set(asked.places.tolist())
    expected = DRAWS * LIMIT / N
    # Draws without replacement vary by (1 - k/N) less than a multinomial.
    statistic = ((counts - expected) ** 2 / expected).sum() * (N - 1) / (N - LIMIT)
    assert 0.001 < stats.chi2.sf(statistic, N - 1) < 0.999
    # Two rows of one request are drawn together no more often than any two.
    together = DRAWS * LIMIT * (LIMIT - 1) / (N * (N - 1))
    assert abs(pairs - together) < 4 * np.sqrt(together)


def test_labelling_from_the_top_goes_on_in_one_order():
    whole = draw(7, limit=N).places
    labelled = np.zeros(N, dtype=bool)
    for round_ in range(1, 4):
        asked = draw(7, labelled=labelled)
        assert asked.places.tolist() == whole[(round_ - 1) * LIMIT : round_ * LIMIT].tolist()
        assert asked.propensity == round_ * LIMIT / N and asked.value == N / (round_ * LIMIT)
        labelled[asked.places] = True


def test_a_growing_window_asks_for_the_same_rows_and_newcomers_of_lower_priority():
    before, after = draw(3, n=100).places.tolist(), draw(3).places.tolist()
    newcomers = {index for index in after if index >= 100}
    assert newcomers and set(after) - newcomers == set(before[: LIMIT - len(newcomers)])


def test_a_copy_of_a_row_is_the_same_row():
    ids, rows = [*IDS, *IDS[:30]], np.concatenate([ROWS, ROWS[:30]])
    asked = choose(
        priorities(ids, rows, key="k"), lambda places: np.zeros(len(places), dtype=bool), limit=200
    )
    assert sorted(asked.places.tolist()) == list(range(N)) and asked.propensity == 1.0


def test_rows_that_are_all_labelled_or_not_there_leave_nothing_to_ask():
    assert len(draw(1, labelled=np.ones(N, dtype=bool)).places) == 0
    assert len(draw(1, n=0).places) == 0 and draw(1, n=0).propensity == 1.0


def test_a_priority_is_fixed_for_ever():
    found = priorities(["p", "p", "q"], np.array([0, 1, 0], dtype=np.int32), key="m w-1").tolist()
    assert found == [13974501187125092806, 2093012444627427716, 17628001075403345873]


def test_choosing_brings_no_torch():
    code = "import sys, acclimate.learning.label_sampling; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
