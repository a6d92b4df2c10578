"""A sender of 40 % of the traffic, who asks the served version what to send, moves no
boundary; without the rules he does.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.mechanisms import attacks
from benchmarks.mechanisms.attacks import Scene
from benchmarks.streams import starts
from benchmarks.streams.stream import source

pytestmark = pytest.mark.slow

WINDOWS = 5


@pytest.fixture(autouse=True)
def _own_anchors(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "KEPT", Path(tmp_path_factory.getbasetemp()) / "attacked-anchors")


@pytest.fixture
def scene() -> Scene:
    made = attacks.plane(2)
    return replace(made, stream=replace(made.stream, windows=made.stream.windows[:WINDOWS]))


@pytest.mark.parametrize("sure", [0.0, 0.9])
@pytest.mark.parametrize("keys", [1, 20])
def test_neither_one_key_nor_twenty_flip_a_region(scene, keys, sure):
    played = attacks.play(scene, 2, keys=keys, sure=sure)
    assert max(played.flipped) == 0.0
    assert min(played.served) > 0.98


def test_without_the_rule_the_same_sender_owns_the_region(scene):
    played = attacks.play(scene, 2, keys=20, sure=0.9, limits=attacks.UNGUARDED)
    assert played.flipped[-1] > 0.9
    assert min(played.served) > 0.95


def test_he_sends_what_the_served_version_is_sure_of_and_names_are_told(scene):
    said: list[str] = []
    attacks.play(scene, 2, keys=1, sure=0.9, say=said.append)
    assert len(said) == WINDOWS
    assert all("largest senders: key-10" in line for line in said)


@pytest.mark.skipif(
    not source("gasdrift_8of10").is_file(),
    reason="the gas sensors are not here (ACCLIMATE_STREAMS)",
)
def test_while_all_traffic_drifts_rows_of_his_twenty_keys_do_not_teach_and_those_of_others_do():
    made = attacks.gas(24)
    scene = replace(made, stream=replace(made.stream, windows=made.stream.windows[:3]))
    before = attacks.play(scene, 24, keys=20, sure=0.9, limits=attacks.UNGUARDED)
    played = attacks.play(scene, 24, keys=20, sure=0.9)
    assert max(played.flipped) < 0.1
    assert played.taught[0] < 0.1 * played.rows[0] < before.taught[0]
    assert played.taught[1] > 0.5 * played.rows[1]
