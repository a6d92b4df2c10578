"""One stream and one anchor, made once for all tests of learning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from turned_digits import DIGITS, Digits, digits, spec

from acclimate.learning import pipeline, seed_split
from acclimate.learning.data import SeedSet
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.outcomes import FirstVersion


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def stream() -> Digits:
    return digits(0)


@pytest.fixture(scope="session")
def parts(stream: Digits) -> SeedSet:
    return seed_split.split(stream.seed_x, stream.seed_y, DIGITS, rng=np.random.default_rng(0))


@pytest.fixture(scope="session")
def first(parts: SeedSet) -> FirstVersion:
    return pipeline.begin(spec(), parts, step=pipeline.plain_step(0))


@pytest.fixture(scope="session")
def anchor(first: FirstVersion) -> Bundle:
    return first.student
