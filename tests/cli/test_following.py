"""The stages of a run as bars."""

from __future__ import annotations

from acclimate.cli.following import STAGES, stage_bars
from acclimate.learning import values


def test_the_command_line_knows_every_stage_of_the_loop() -> None:
    assert STAGES == values.STAGES


def test_passed_stages_are_full_and_the_present_one_says_how_far_it_is() -> None:
    run = {"state": "running", "stage": "train", "progress": {"done": 80, "total": 120, "unit": "steps"}}
    bars = {bar.stage: (bar.done, bar.total, bar.note) for bar in stage_bars(run)}
    assert list(bars) == ["snapshot", "diagnose", "pseudo_label", "train"]
    assert bars["diagnose"] == (1, 1, "")
    assert bars["train"] == (80, 120, "steps")


def test_a_run_that_succeeded_is_full_to_the_end_and_a_rejected_one_is_not() -> None:
    assert [bar.done for bar in stage_bars({"state": "succeeded", "stage": "publish"})] == [1] * 7
    rejected = list(stage_bars({"state": "rejected", "stage": "judge", "progress": None}))
    assert (rejected[-1].stage, rejected[-1].done, rejected[-1].total) == ("judge", 0, None)


def test_a_queued_run_has_no_bars() -> None:
    assert list(stage_bars({"state": "queued", "stage": None})) == []
