"""Rows of a minority of the traffic are found, however many keys it uses."""

from __future__ import annotations

import numpy as np
import pytest

from acclimate.learning.data import Floats, Integers
from acclimate.learning.screening import client_support

HONEST, HEAP = 400, 260
"""Rows; the heap is just under 40 % of them."""
DIMENSIONS = 8


def traffic(rng: np.random.Generator, rows: int) -> Floats:
    """Three classes that lie apart."""
    return (
        rng.normal(size=(rows, DIMENSIONS)) + 4 * np.eye(3, DIMENSIONS)[rng.integers(3, size=rows)]
    )


def heaped(rng: np.random.Generator, *, keys: int, honest_keys: int) -> tuple[Floats, Integers]:
    """Traffic of so many honest keys, and a heap between two classes from others."""
    heap = 2 * np.ones(DIMENSIONS) * np.array([1, 1] + [0] * (DIMENSIONS - 2)) + rng.normal(
        scale=0.3, size=(HEAP, DIMENSIONS)
    )
    client = np.concatenate(
        [rng.integers(honest_keys, size=HONEST), honest_keys + np.arange(HEAP) % keys]
    )
    return np.concatenate([traffic(rng, HONEST), heap]), client


@pytest.mark.parametrize("draw", range(4))
@pytest.mark.parametrize(
    ("keys", "honest_keys"), [(1, 10), (20, 10), (1, 1), (20, 1), (5, 60), (40, 40)]
)
def test_a_heap_of_less_than_half_of_the_traffic_is_unsupported(draw, keys, honest_keys):
    found = client_support.unsupported_rows(
        *heaped(np.random.default_rng(draw), keys=keys, honest_keys=honest_keys)
    )
    assert found[HONEST:].mean() > 0.9
    assert found[:HONEST].mean() < 0.08


def test_a_client_that_sends_what_all_send_too_is_found_in_its_heap_alone():
    rng = np.random.default_rng(4)
    rows, client = heaped(rng, keys=3, honest_keys=10)
    rows, client = (
        np.concatenate([rows, traffic(rng, 90)]),
        np.concatenate([client, 10 + np.arange(90) % 3]),
    )
    found = client_support.unsupported_rows(rows, client)
    assert found[HONEST : HONEST + HEAP].mean() > 0.9
    assert found[HONEST + HEAP :].mean() < 0.15


@pytest.mark.parametrize("draw", range(4))
@pytest.mark.parametrize("keys", [2, 10, 100])
def test_traffic_that_all_clients_send_is_supported(draw, keys):
    rng = np.random.default_rng(draw)
    assert (
        client_support.unsupported_rows(traffic(rng, 600), rng.integers(keys, size=600)).mean()
        < 0.01
    )


def test_a_fleet_of_which_each_sends_its_own_has_no_unsupported_rows():
    rng = np.random.default_rng(1)
    device = np.arange(600) % 10
    assert not client_support.unsupported_rows(
        traffic(rng, 600) + 20 * rng.normal(size=(10, DIMENSIONS))[device], device
    ).any()


def test_of_two_clients_that_share_nothing_the_smaller_is_unsupported():
    rng = np.random.default_rng(2)
    client = (np.arange(600) % 10 < 4).astype(np.int64)
    found = client_support.unsupported_rows(traffic(rng, 600) + 30.0 * client[:, None], client)
    assert found[client == 1].all()
    assert not found[client == 0].any()


@pytest.mark.parametrize("client", [np.zeros(600, dtype=np.int64), np.arange(600)])
def test_one_client_and_one_row_of_each_decide_nothing(client):
    rows, _ = heaped(np.random.default_rng(3), keys=1, honest_keys=1)
    assert not client_support.unsupported_rows(rows[-600:], client).any()


@pytest.mark.parametrize("rows", [0, 1, 2, 39, 5000])
def test_any_number_of_rows_is_answered_and_twice_the_same(rows):
    rng = np.random.default_rng(5)
    x, client = traffic(rng, rows), rng.integers(7, size=rows)
    found = client_support.unsupported_rows(x, client)
    assert found.shape == (rows,)
    assert (found == client_support.unsupported_rows(x, client)).all()
