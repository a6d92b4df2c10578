"""What audit labels prove: wrong no more often than alpha at any peek, and something on few."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from acclimate.learning.stats import betting
from acclimate.learning.stats.significance import level_of_peek, level_of_window
from acclimate.learning.thresholds import DEFAULT

MARGIN = 0.10
MOST = 200


def wealth(gains: np.ndarray, losses: np.ndarray, n: np.ndarray, mean: float) -> np.ndarray:
    return np.vectorize(lambda g, m, k: betting.log_evidence(g, m, k, mean=mean))(gains, losses, n)


def paths(gain: float, loss: float, *, seed: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Gains and losses (draws, MOST) among the first n rows, as labels trickle in."""
    d = np.random.default_rng(seed).choice(
        [1, 0, -1], (draws, MOST), p=[gain, 1 - gain - loss, loss]
    )
    return np.cumsum(d == 1, axis=1), np.cumsum(d == -1, axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("gain", [0.0, 0.02, 0.10, 0.30])
def test_a_challenger_worse_by_the_margin_passes_any_of_200_peeks_with_at_most_alpha(gain):
    gains, losses = paths(gain, gain + MARGIN, seed=int(100 * gain), draws=1000)
    n = np.broadcast_to(np.arange(1, MOST + 1), gains.shape)
    ever = (wealth(gains, losses, n, -MARGIN) >= math.log(1 / DEFAULT.audit_error)).any(axis=1)
    # Not below alpha by luck: 50 are allowed, and a limit that is passed by chance once in a
    # thousand test runs is higher.
    assert ever.sum() <= stats.binom.isf(1e-3, 1000, DEFAULT.audit_error)


def test_the_usual_bound_would_be_wrong_far_more_often_at_any_of_200_peeks():
    """The test above can fail: the usual bound at 95 % does."""
    gains, losses = paths(0.05, 0.05 + MARGIN, seed=1, draws=1000)
    n = np.arange(1, MOST + 1)
    mean = (gains - losses) / n
    error = np.sqrt(np.maximum((gains + losses) / n - mean**2, 1e-9) / n)
    assert ((mean - 1.645 * error > -MARGIN)[:, 9:].any(axis=1)).mean() > 3 * DEFAULT.audit_error


def test_the_levels_of_all_peeks_at_the_same_labels_sum_to_alpha():
    spent = [level_of_peek(peeks) for peeks in range(60)]
    assert sum(spent) == pytest.approx(DEFAULT.audit_error) and spent[0] > 0.7 * DEFAULT.audit_error
    assert spent == sorted(spent, reverse=True)


def test_several_challengers_worse_by_the_margin_pass_with_at_most_alpha():
    """Somebody tries ten, each with its own errors on the same 100 labels, until one is
    proved fit.
    """
    rng = np.random.default_rng(4)
    passed = 0
    for _ in range(400):
        for peeks in range(10):
            gains, _, losses = rng.multinomial(100, [0.03, 0.84, 0.13])
            bound = betting.lower_bound(int(gains), int(losses), 100, alpha=level_of_peek(peeks))
            if bound >= -MARGIN:
                passed += 1
                break
    assert passed <= stats.binom.isf(1e-3, 400, DEFAULT.audit_error)


@pytest.mark.parametrize(
    ("n", "gain", "loss", "power"),
    [(25, 0.10, 0.0, 0.45), (50, 0.06, 0.01, 0.75), (100, 0.06, 0.02, 0.9)],
)
def test_better_challengers_are_proved_fit_this_often(n, gain, loss, power):
    drawn = np.random.default_rng(n).multinomial(n, [gain, 1 - gain - loss, loss], 1000)
    alpha = level_of_peek(0)
    proved = wealth(drawn[:, 0], drawn[:, 2], np.full(1000, n), -MARGIN) >= math.log(1 / alpha)
    assert proved.mean() > power


def test_the_bounds_hold_what_was_seen_and_narrow_with_more_rows():
    widths = []
    for n in (10, 25, 100, 400):
        gains, losses = n // 5, n // 10
        low, high = (
            bound(gains, losses, n, alpha=0.05)
            for bound in (betting.lower_bound, betting.upper_bound)
        )
        assert -1 <= low < (gains - losses) / n < high <= 1
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True) and widths[-1] < 0.2
    assert betting.lower_bound(0, 0, 0, alpha=0.05) == pytest.approx(-1)


def test_the_bound_is_where_the_evidence_reaches_what_alpha_asks():
    bound = betting.lower_bound(7, 2, 40, alpha=0.02)
    assert betting.log_evidence(7, 2, 40, mean=bound) == pytest.approx(math.log(50), abs=1e-6)
    assert betting.log_evidence(7, 2, 40, mean=bound + 0.01) < math.log(50)


def test_betting_imports_no_torch():
    code = "import sys, acclimate.learning.stats.betting; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("share", [0.02, 0.2, 0.6])
def test_a_share_is_outside_its_bounds_at_any_peek_in_no_more_than_alpha(share):
    hits = np.cumsum(np.random.default_rng(7).random((200, 100)) < share, axis=1)
    ever = {"above": 0, "below": 0}
    for path in hits:
        steps = range(5, 101, 5)
        ever["above"] += any(
            betting.least_share(int(path[n - 1]), n, alpha=0.05) > share for n in steps
        )
        ever["below"] += any(
            betting.most_share(int(path[n - 1]), n, alpha=0.05) < share for n in steps
        )
    assert max(ever.values()) <= stats.binom.isf(1e-3, 200, 0.05)


def test_bounds_of_a_share_close_in_as_rows_come():
    few, many = (
        (betting.least_share(n // 2, n, alpha=0.05), betting.most_share(n // 2, n, alpha=0.05))
        for n in (20, 2000)
    )
    assert few[0] < many[0] < 0.5 < many[1] < few[1]
    assert many[0] > 0.44
    assert betting.least_share(0, 50, alpha=0.05) == pytest.approx(0, abs=1e-9)


def test_all_windows_of_a_series_spend_no_more_than_its_level():
    assert sum(level_of_window(number) for number in range(1, 10_000)) <= DEFAULT.series_error
