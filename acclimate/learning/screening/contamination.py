"""Which rows of a window a minority of its senders may have made, so that they are not learnt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from acclimate.learning.data import UNLABELLED, Flags, Integers, Json, SeedSet, Window
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.features import penultimate_features
from acclimate.learning.results import Effect, Screening
from acclimate.learning.screening import client_support
from acclimate.learning.screening.mixture_proportion import MixtureProportion, mixture_proportion
from acclimate.learning.spec import Policy
from acclimate.learning.thresholds import DEFAULT, Thresholds

REPORTED_CLIENTS = 3

Tick = Callable[[int, int], None]


def screen(
    window: Window,
    seed: SeedSet,
    champion: Bundle,
    anchor: Bundle,
    policy: Policy,
    *,
    tick: Tick,
    limits: Thresholds = DEFAULT,
) -> Screening:
    """The suspect rows of a window, as the anchor sees its rows. Deterministic.

    Unsupported rows are found unless the policy learns from few senders too. Dense rows are
    suspect while most of the window may be drawn as the seed set is, unless the density comes from
    most of the clients.
    """
    rows = window.rows
    seed_z = penultimate_features(anchor, seed.held_out.x)
    found = mixture_proportion(seed_z, penultimate_features(anchor, rows), limits)
    tick(1, 2)
    drifted = Effect(value=1 - found.seed_share, threshold=limits.majority, n=len(rows))
    supported = policy.few_senders == "learn" or not limits.on("client_support")
    nobody = np.zeros(len(rows), dtype=bool)
    unsupported = nobody if supported else _unsupported(window, seed, champion, limits)
    tick(2, 2)
    screening = Screening(
        drifted=drifted,
        unsupported=unsupported,
        dense=found.dense,
        seed_dense=found.seed_dense,
    )
    everywhere = drifted.detected or _from_most_clients(found, window, limits)
    keeps = everywhere or not limits.on("contamination")
    return screening.without_density if keeps else screening


def refused_rows(
    window: Window,
    screening: Screening,
    anchor: Bundle,
    label: Integers,
    limits: Thresholds = DEFAULT,
) -> Flags | None:
    """Which rows to learn from (N,) may not teach what the teacher labels them.

    Suspect rows, and those that version 1 contradicts. None where most of the window drifted, or an
    operator released it.
    """
    if window.released or screening.drifted.detected:
        return None
    suspect = screening.suspect[: len(window.x)]
    if not limits.on("contradiction"):
        return suspect
    answered = anchor.network_probabilities(window.x).argmax(axis=1)
    return np.asarray(suspect | (answered != label))


def report(
    screening: Screening, window: Window, answers: Integers, classes: tuple[str, ...]
) -> Json | None:
    """Suspect rows for people: how many, version 1's answer (N,) to most, their largest senders."""
    rows = screening.suspect
    if not rows.any():
        return None
    largest: list[Json] = []
    if window.client is not None and window.client_names:
        clients = window.client[rows[: len(window.x)]]
        counts = np.bincount(clients, minlength=len(window.client_names))
        order = np.argsort(-counts, kind="stable")[:REPORTED_CLIENTS]
        largest = [
            {"client": window.client_names[index], "rows": int(counts[index])}
            for index in order
            if counts[index]
        ]
    answered = int(np.bincount(answers[rows], minlength=len(classes)).argmax())
    return {
        "rows": int(rows.sum()),
        "few_senders": int(screening.unsupported.sum()),
        "answered": classes[answered],
        "senders": largest,
    }


def describe(reported: Json, screening: Screening) -> str:
    """`report` in words."""
    senders = reported["senders"]
    largest = ", ".join(f"{sender['client']} ({sender['rows']} rows)" for sender in senders)
    undrifted = 1 - screening.drifted.value
    dense = (
        "where the seed set has less than half as many, "
        f"while up to {undrifted:.0%} of the window may be undrifted"
    )
    few = "where only keys send that sent less than half of the window"
    kinds = {
        dense: reported["rows"] > reported["few_senders"],
        few: reported["few_senders"] > 0,
    }
    where = ", or ".join(kind for kind, there in kinds.items() if there)
    return (
        f"{screening.share.value:.0%} of the rows lie {where}: they are not learnt, since few "
        "senders may have made them to be learnt from "
        f"(version 1 answers most of them {reported['answered']!r}; "
        f"largest senders: {largest or 'not known'})"
    )


def _unsupported(window: Window, seed: SeedSet, champion: Bundle, limits: Thresholds) -> Flags:
    """Rows that few clients send, of a class that most send or that is more frequent than usual.

    A client that alone sends a class, as often as the seed set has it, teaches it. Nothing where an
    operator released the window; never rows that people labelled.
    """
    rows = window.rows
    if window.released or window.client is None or window.held_out_client is None:
        return np.zeros(len(rows), dtype=bool)
    z = champion.encoding.features(rows).reshape(len(rows), -1)
    client = np.concatenate([window.client, window.held_out_client])
    few = client_support.unsupported_rows(z, client, limits)
    few[len(window.x) :] &= window.held_out_labels == UNLABELLED
    if few.any():
        served = champion.caught_up(rows)
        answered = served.network_probabilities(rows, served.start).argmax(axis=1)
        common = [
            label
            for label in np.unique(answered[few])
            if client_support.has_majority(answered == label, client, limits)
        ]
        frequent = _more_frequent(answered, seed, len(champion.input_spec.classes), limits)
        few &= np.isin(answered, common) | frequent[answered]
    return few


def _more_frequent(answered: Integers, seed: SeedSet, classes: int, limits: Thresholds) -> Flags:
    """Which classes (C,) are answered more often than the seed set has them, beyond chance."""
    parts = (seed.train, seed.calibration, seed.judging)
    trusted = np.concatenate([part.y for part in parts])
    usual = np.bincount(trusted, minlength=classes) / len(trusted)
    error = np.sqrt(usual * (1 - usual) * (1 / len(answered) + 1 / len(trusted)))
    share = np.bincount(answered, minlength=classes) / len(answered)
    return np.asarray(share > usual + limits.contamination_errors * error)


def _from_most_clients(found: MixtureProportion, window: Window, limits: Thresholds) -> bool:
    """Whether clients with most of the traffic send dense rows too. Of one client: not known."""
    client, dense = window.client, found.dense[: len(window.x)]
    if client is None or not dense.any() or len(np.unique(client)) < 2:
        return False
    usual = float(found.seed_dense.mean())
    each = np.bincount(client, weights=dense) / np.maximum(1, np.bincount(client)) - usual
    enough = each[client] >= limits.spread_share * (float(dense.mean()) - usual)
    return float(enough.mean()) > limits.majority
