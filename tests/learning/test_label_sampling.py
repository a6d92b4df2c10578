"""Which rows' labels are asked for: a stable, uniform draw of known probability."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from scipy import stats

from acclimate.learning.label_sampling import Candidates, choose, differ, priorities, queue

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
        assert asked.propensity == round_ * LIMIT / N
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


def rows_to_label(
    window: int, differing: np.ndarray, *, limit: int = LIMIT, labelled: np.ndarray | None = None
):
    known = np.zeros(N, dtype=bool) if labelled is None else labelled
    of_judge = priorities(IDS, ROWS, key=f"model w-{window} judge")
    return queue(
        priorities(IDS, ROWS, key=f"model w-{window}"),
        Candidates(places=differing, priority=of_judge[differing]),
        lambda places: known[places],
        limit=limit,
    )


def test_rows_that_judge_and_rows_that_teach_take_turns_and_are_half_each():
    differing = np.arange(0, N, 2)
    for limit in (1, 2, 7, LIMIT):
        items = rows_to_label(1, differing, limit=limit)
        assert [item.why for item in items] == [
            ("judge", "teach")[turn % 2] for turn in range(limit)
        ]
        places = [item.place for item in items]
        assert len(set(places)) == limit
        assert {place for place in places[::2]} <= set(differing.tolist())


def test_rows_that_judge_are_drawn_uniformly_and_apart_from_those_that_teach():
    differing = np.arange(30)
    counts = np.zeros(30)
    both, k = 0, 13
    for window in range(DRAWS):
        judge = [item for item in rows_to_label(window, differing) if item.why == "judge"]
        assert {item.propensity for item in judge} == {k / 30}
        places = [item.place for item in judge]
        counts[places] += 1
        both += len(set(places) & set(draw(window).places.tolist()))
    expected = DRAWS * k / 30
    statistic = ((counts - expected) ** 2 / expected).sum() * 29 / (30 - k)
    assert 0.001 < stats.chi2.sf(statistic, 29) < 0.999
    # As often as independent draws have a row in common.
    share = LIMIT / N
    assert abs(both / (DRAWS * k) - share) < 4 * np.sqrt(share * (1 - share) / (DRAWS * k))


def test_rows_that_teach_fill_up_where_few_or_none_can_judge():
    items = rows_to_label(4, np.array([5, 17]))
    assert [item.why for item in items] == [*("judge", "teach") * 2, *["teach"] * (LIMIT - 4)]
    alone = rows_to_label(4, np.empty(0, dtype=np.intp))
    asked = draw(4)
    assert [item.place for item in alone] == asked.places.tolist()
    assert {(item.why, item.propensity) for item in alone} == {("teach", asked.propensity)}
    assert alone[0].value == 1 / asked.propensity


def test_a_list_is_never_short_while_rows_are_left():
    left = np.ones(N, dtype=bool)
    left[:10] = False
    items = rows_to_label(2, np.arange(8), labelled=left)
    assert sorted(item.place for item in items) == list(range(10))
    assert sorted(item.why for item in items) == ["judge"] * 8 + ["teach"] * 2


def test_a_row_that_both_draws_have_is_there_once_and_judges():
    first = int(draw(6).places[0])
    items = rows_to_label(6, np.array([first]), limit=5)
    assert (items[0].place, items[0].why, items[0].propensity) == (first, "judge", 1.0)
    whole = draw(6).places.tolist()
    assert [item.place for item in items[1:]] == whole[1:5]
    # It counts as drawn by both.
    assert {item.propensity for item in items[1:]} == {5 / N}


def test_a_copy_of_a_row_that_judges_does_not_teach():
    ids, rows = [*IDS, IDS[3]], np.concatenate([ROWS, ROWS[3:4]])
    priority = priorities(ids, rows, key="teach")
    candidates = Candidates(places=np.array([N]), priority=priorities(ids, rows, key="judge")[N:])
    items = queue(
        priority, candidates, lambda places: np.zeros(len(places), dtype=bool), limit=N + 1
    )
    assert items[0].place == N and 3 not in {item.place for item in items} and len(items) == N


def test_labelling_rows_that_judge_goes_on_in_one_order():
    differing = np.arange(60)
    whole = [item.place for item in rows_to_label(8, differing, limit=N) if item.why == "judge"]
    labelled = np.zeros(N, dtype=bool)
    labelled[whole[:13]] = True
    judge = [item for item in rows_to_label(8, differing, labelled=labelled) if item.why == "judge"]
    assert [item.place for item in judge] == whole[13:26]
    assert {item.propensity for item in judge} == {26 / 60}


def test_versions_differ_on_a_row_where_not_all_labels_are_equal():
    labels = [np.array([0, 1, 2, 0]), np.array([0, 1, 1, 0]), np.array([0, 2, 2, 0])]
    assert differ(labels).tolist() == [False, True, True, False]
