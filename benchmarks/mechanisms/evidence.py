"""`python -m benchmarks.mechanisms.evidence`: what labels of audited rows can decide, and how often
they decide wrongly.

Rows are drawn as gains, losses and ties of a challenger against the champion and go through
`acclimate.learning.stats.betting`. Tables: false proofs under repeated looks; power; what rules on
the same labels let pass of proposals like those measured (docs/why.md: 31 % harmful); trying again
on the same labels; and whether drawing more of the doubtful rows would help.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.spec import Gates
from acclimate.learning.stats import betting
from acclimate.learning.stats.significance import level_of_peek
from acclimate.learning.thresholds import DEFAULT

Counts = NDArray[np.int64]
Values = NDArray[np.float64]
MARGIN = Gates().audited_margin
SIZES = (10, 25, 50, 100, 200)
TIES = (0.0, 0.02, 0.05, 0.15)
"""Shares of rows that a challenger gains beyond what the difference takes: how much it changes
without getting better.
"""
TRIES = 5
HARMFUL = 0.31
WORSE_BY, BETTER_BY, RESTLESS = 0.035, 0.023, 0.02
"""Means of exponential sizes that give the proposals measured on real streams: 31 % harmful, + 0.5
points in the mean.
"""
DOUBTFUL = 0.25
"""Of the rows, so many are doubtful; half of a tilted draw comes from them alone."""


def log_wealth(gains: Counts, losses: Counts, n: Counts | int, mean: float) -> Values:
    """`evidence.log_evidence` of many."""
    gain = np.log1p(betting.BETS * (1.0 - mean) / (1.0 + mean))
    tie = np.log1p(-betting.BETS * mean / (1.0 + mean))
    ties = np.asarray(n - gains - losses)
    terms = (
        gains[..., None] * gain
        + ties[..., None] * tie
        + losses[..., None] * np.log1p(-betting.BETS)
    )
    return np.asarray(np.logaddexp.reduce(np.log(betting.MONEY) + terms, axis=-1))


def repeated_looks(rng: np.random.Generator, draws: int) -> None:
    """A challenger worse by exactly the margin, looked at after every label from the tenth to the
    200th.
    """
    print(
        f"\nFalse proofs, worse by exactly {100 * MARGIN:.0f} points, % of {draws} (alpha "
        f"{100 * DEFAULT.audit_error:.0f}):"
    )
    print(
        "| rows gained | at some look of 191 | usual 95 % bound, at some look | ten "
        "challengers on 100 labels in turn |"
    )
    print("| --- | --- | --- | --- |")
    for share in TIES:
        d = rng.choice(
            [1, 0, -1], (draws, max(SIZES)), p=[share, 1 - 2 * share - MARGIN, share + MARGIN]
        )
        n = np.arange(1, max(SIZES) + 1)
        gains, losses = np.cumsum(d == 1, axis=1), np.cumsum(d == -1, axis=1)
        ever = (log_wealth(gains, losses, n, -MARGIN) >= math.log(1 / DEFAULT.audit_error))[
            :, 9:
        ].any(axis=1)
        mean = (gains - losses) / n
        usual = mean - 1.645 * np.sqrt(np.maximum((gains + losses) / n - mean**2, 0.0) / n)
        many = rng.multinomial(100, [share, 1 - 2 * share - MARGIN, share + MARGIN], (draws, 10))
        needed = np.log([1 / level_of_peek(look) for look in range(10)])
        tried = (log_wealth(many[..., 0], many[..., 2], 100, -MARGIN) >= needed).any(axis=1)
        found = (ever.mean(), (usual > -MARGIN)[:, 9:].any(axis=1).mean(), tried.mean())
        print(
            f"| {100 * share:.0f} % | " + " | ".join(f"{100 * value:.1f}" for value in found) + " |"
        )


def power(rng: np.random.Generator, draws: int) -> None:
    """How often a first look proves that a challenger is not worse by the margin."""
    needed = math.log(1 / level_of_peek(0))
    shapes = (
        (0.0, 0.0),
        (0.02, 0.02),
        (0.05, 0.05),
        (0.06, 0.01),
        (0.10, 0.05),
        (0.10, 0.0),
        (0.20, 0.10),
    )
    print(
        f"\nProved at the first look, %, by gains and losses in 100 rows (margin "
        f"{100 * MARGIN:.0f} points):"
    )
    print(
        "| labels | "
        + " | ".join(f"+{100 * gain:.0f} -{100 * loss:.0f}" for gain, loss in shapes)
        + " |"
    )
    print("| --- |" + " --- |" * len(shapes))
    for n in SIZES:
        proved = []
        for gain, loss in shapes:
            drawn = rng.multinomial(n, [gain, 1 - gain - loss, loss], draws)
            proved.append((log_wealth(drawn[:, 0], drawn[:, 2], n, -MARGIN) >= needed).mean())
        print(f"| {n} | " + " | ".join(f"{100 * value:.0f}" for value in proved) + " |")


def proposals(rng: np.random.Generator, draws: int) -> tuple[Values, Values]:
    """The gain in accuracy of proposals like those measured, and the share of rows on which each
    changes what is right.
    """
    size = np.where(
        rng.random(draws) < HARMFUL,
        -rng.exponential(WORSE_BY, draws),
        rng.exponential(BETTER_BY, draws),
    )
    gain = np.clip(size, -0.6, 0.6)
    return gain, np.minimum(np.abs(gain) + rng.exponential(RESTLESS, draws), 0.95)


def rules(rng: np.random.Generator, draws: int) -> None:
    """What each rule lets pass, and what it gains a proposal, when every proposal is looked at
    once.
    """
    proof = math.log(1 / level_of_peek(0))
    made: dict[str, Callable[[Counts, Counts, int], Any]] = {
        "all": lambda gains, losses, n: np.ones(len(gains), dtype=bool),
        "not proved worse at 5 %": lambda gains, losses, n: (
            log_wealth(losses, gains, n, 0.0) < math.log(20)
        ),
        "not worse at e = 3": lambda gains, losses, n: (
            log_wealth(losses, gains, n, 0.0) < math.log(3)
        ),
        "losses do not outnumber gains": lambda gains, losses, n: losses <= gains,
        "proved within the margin": lambda gains, losses, n: (
            log_wealth(gains, losses, n, -MARGIN) >= proof
        ),
        "proved, losses do not outnumber": lambda gains, losses, n: (
            (log_wealth(gains, losses, n, -MARGIN) >= proof) & (losses <= gains)
        ),
    }
    gain, changed = proposals(rng, draws)
    print(
        f"\nProposals like those measured ({100 * HARMFUL:.0f} % harmful, "
        f"{100 * gain.mean():+.1f} points in the mean):"
    )
    print(
        "| labels | rule | accepted, % | of them harmful, % | worse by > 2 points, % | mean of "
        "accepted | gained a proposal | "
        "those better by > 5 let through, % |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for n in SIZES[1:]:
        gains, losses = _seen(rng, n, gain, changed)
        for name, rule in made.items():
            passed = rule(gains, losses, n)
            of = gain[passed]
            print(
                f"| {n} | {name} | {100 * passed.mean():.0f} | {100 * (of < 0).mean():.0f} | "
                f"{100 * (of < -0.02).mean():.0f} | {100 * of.mean():+.2f} | "
                f"{100 * (gain * passed).mean():+.2f} | "
                f"{100 * passed[gain > 0.05].mean():.0f} |"
            )


def retries(rng: np.random.Generator, draws: int) -> None:
    """Harmful challengers alone, made anew on the same labels until one passes: what a gain for
    each look before is worth.
    """
    print(
        f"\nAn operator tries up to {TRIES} challengers on the same labels, each worse by so "
        f"much; one passes, %:"
    )
    print("| labels | worse by | losses do not outnumber gains | each look before costs one gain |")
    print("| --- | --- | --- | --- |")
    for n in (25, 100):
        for worse in (0.02, 0.05, 0.10):
            share = np.full((draws, TRIES), -worse)
            gains, losses = _seen(rng, n, share, np.full_like(share, worse + 0.04))
            plain = (losses <= gains).any(axis=1).mean()
            dearer = (gains - losses >= np.arange(TRIES)).any(axis=1).mean()
            print(f"| {n} | {100 * worse:.0f} | {100 * plain:.0f} | {100 * dearer:.0f} |")


def tilt(rng: np.random.Generator, draws: int) -> None:
    """The same labels spent half on doubtful rows, each row weighed by the inverse of its
    propensity, against a uniform draw.
    """
    print(
        f"\nHalf of the draw from the {100 * DOUBTFUL:.0f} % most doubtful rows, weighed by "
        f"propensity, against a uniform draw:"
    )
    print(
        "| labels | differences in doubtful rows | proved if +6 -1: uniform, tilted, % | "
        "harmful let through by the seen gain: "
        "uniform, tilted, % | gained a proposal: uniform, tilted |"
    )
    print("| --- | --- | --- | --- | --- |")
    for n in (25, 50, 100):
        for held in (DOUBTFUL, 0.5, 0.8):
            fixed = (np.full(draws, 0.05), np.full(draws, 0.07))
            proved = [
                _proved(_drawn(rng, n, *fixed, held, tilted), tilted) for tilted in (False, True)
            ]
            gain, changed = proposals(rng, draws)
            changed = np.minimum(changed, DOUBTFUL / max(held, DOUBTFUL))
            gain = np.clip(gain, -changed, changed)
            passed = [
                _drawn(rng, n, gain, changed, held, tilted).sum(axis=1) >= -1e-9
                for tilted in (False, True)
            ]
            harmful = [100 * (gain[each] < 0).mean() for each in passed]
            gained = [100 * (gain * each).mean() for each in passed]
            print(
                f"| {n} | {100 * held:.0f} % | {100 * proved[0]:.0f}, {100 * proved[1]:.0f} | "
                f"{harmful[0]:.0f}, {harmful[1]:.0f} | {gained[0]:+.2f}, {gained[1]:+.2f} |"
            )


def _seen(rng: np.random.Generator, n: int, gain: Values, changed: Values) -> tuple[Counts, Counts]:
    up, down = (changed + gain) / 2, (changed - gain) / 2
    gains = rng.binomial(n, up)
    return gains, rng.binomial(n - gains, np.clip(down / (1 - up), 0, 1))


def _drawn(
    rng: np.random.Generator, n: int, gain: Values, changed: Values, held: float, tilted: bool
) -> Values:
    """(draws, n) differences of n rows, weighed: `held` of all differences are in doubtful rows."""
    chance = 0.5 + 0.5 * DOUBTFUL if tilted else DOUBTFUL
    doubtful = rng.random((len(gain), n)) < chance
    weight = np.where(doubtful, DOUBTFUL / chance, (1 - DOUBTFUL) / (1 - chance))
    dense = np.where(doubtful, held / DOUBTFUL, (1 - held) / (1 - DOUBTFUL))
    up, down = dense * ((changed + gain) / 2)[:, None], dense * ((changed - gain) / 2)[:, None]
    draw = rng.random(doubtful.shape)
    return weight * ((draw < up).astype(float) - ((draw >= up) & (draw < up + down)))


def _proved(weighed: Values, tilted: bool) -> float:
    """Bets on values of a larger range are smaller: weights reach 2 in the tilted draw."""
    largest = 2.0 if tilted else 1.0
    x, mean = weighed / largest, -MARGIN / largest
    wealth = np.log1p(betting.BETS * (x[..., None] - mean) / (1.0 + mean)).sum(axis=1)
    e_value = np.logaddexp.reduce(np.log(betting.MONEY) + wealth, axis=-1)
    return float((e_value >= math.log(1 / level_of_peek(0))).mean())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mechanisms.evidence", description=__doc__
    )
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    for table in (repeated_looks, power, rules, retries, tilt):
        table(np.random.default_rng([asked.seed, len(table.__name__)]), asked.draws)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
