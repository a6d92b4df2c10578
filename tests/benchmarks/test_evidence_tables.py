"""The tables behind the gates on audit labels are made of the product's own test."""

from __future__ import annotations

import numpy as np
import pytest

from acclimate.learning.stats import betting
from benchmarks.mechanisms import evidence as tables


def test_the_many_are_counted_as_the_one():
    for gains, losses, n in ((0, 0, 25), (7, 2, 40), (1, 9, 60)):
        one = betting.log_evidence(gains, losses, n, mean=-0.1)
        assert tables.log_wealth(np.array([gains]), np.array([losses]), n, -0.1)[
            0
        ] == pytest.approx(one)


def test_the_tables_come_in_one_command(capsys):
    assert tables.main(["--draws", "200"]) == 0
    said = capsys.readouterr().out
    assert all(
        len({line.count("|") for line in part.splitlines()[1:]}) == 1
        for part in said.strip().split("\n\n")
    )
    assert sum(line.startswith("| ---") for line in said.splitlines()) == 5
