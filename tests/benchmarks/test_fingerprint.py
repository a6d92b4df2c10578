"""The learning gives the same answers, weights and verdicts as when the digests were written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.streams import fingerprint

FILE = Path(__file__).with_name("fingerprint.json")
FAST = ("swings", "jump")
pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        not FILE.is_file(),
        reason=f"{FILE.name} is missing: python -m benchmarks.streams.fingerprint --write {FILE}",
    ),
]


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return document


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
        for name in fingerprint.PLAYS
    ],
)
def test_a_play_gives_the_digests_that_were_kept(name, kept):
    """Bits depend on processor and libraries; on another machine the outcomes stay."""
    if (absent := fingerprint.absent(name)) is not None:
        pytest.skip(f"{absent} is not there (ACCLIMATE_STREAMS)")
    found = fingerprint.all_fingerprints((name,), jobs=1)[name]
    same_machine = fingerprint.machine() == kept["machine"]
    compared = "bits" if same_machine else "outcomes"
    assert found[compared] == kept["plays"][name][compared]


def test_every_play_has_digests_in_the_file(kept):
    here = {name for name in fingerprint.PLAYS if fingerprint.absent(name) is None}
    assert here <= set(kept["plays"])
    assert all({"bits", "verdicts", "outcomes"} <= set(play) for play in kept["plays"].values())
