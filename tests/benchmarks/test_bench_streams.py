"""The benchmark of streams: the same seed gives the same stream, cells resume, arithmetic
is right, what is absent is named.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from acclimate.learning import pipeline
from acclimate.learning.evaluation.gates import expected_calibration_error
from acclimate.learning.spec import NetworkSpec
from acclimate.spec import parse
from benchmarks.mechanisms import gates
from benchmarks.streams import __main__ as command
from benchmarks.streams import catalogue, cells, export, figures, musts, scores, sources, starts
from benchmarks.streams.cells import Cell
from benchmarks.streams.draws import Gaussians, drawn_by_class, swinging
from benchmarks.streams.play import AUDITED, Held, Ours, OursAudited
from benchmarks.streams.starts import Task
from benchmarks.streams.stream import Stream

INSIDE = [name for name, each in catalogue.ALL.items() if each.file is None]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def digest(stream: Stream) -> list[bytes]:
    rows = [(stream.seed_x, stream.seed_y), *((window.x, window.y) for window in stream.windows)]
    parts = [part for pair in rows for part in pair]
    # The bytes of an array of strings are where they stand in memory.
    return [
        repr(part.tolist()).encode() if part.dtype == object else part.tobytes() for part in parts
    ]


@pytest.mark.parametrize("name", INSIDE)
def test_a_stream_is_a_function_of_its_seed(name):
    build = catalogue.ALL[name].build
    first = digest(build(0))
    assert first == digest(build(0))
    assert first != digest(build(1))


@pytest.mark.streams
@pytest.mark.parametrize("name", ["gas", "keystroke", "elec", "words"])
def test_a_real_stream_keeps_its_rows_apart(name):
    definition = catalogue.ALL[name]
    if definition.absent is not None:
        pytest.skip(f"{definition.absent} is not there")
    stream = definition.build(0)
    assert all(
        len(window.x) == len(window.y)
        and 0 <= window.y.min() <= window.y.max() < len(stream.input.classes)
        for window in stream.windows
    )
    assert digest(stream) == digest(definition.build(0))


def test_class_shares_swing_in_blocks_and_no_row_comes_twice_while_there_are_enough():
    rng = np.random.default_rng(0)
    windows = swinging([np.array([1.0, 0.0]), np.array([0.0, 1.0])], 3, 100, 150, rng)
    assert [int(y.sum()) for y in windows] == [0, 50, 100]
    pool = np.repeat([0, 1], [150, 200])
    rows = drawn_by_class(pool, windows[1], rng)
    assert (pool[rows] == windows[1]).all() and len(set(rows.tolist())) == 100


def test_accuracy_counts_rows_that_have_a_class_and_groups_count_alike():
    answers = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], dtype=np.float32)
    assert scores.accuracy(answers, np.array([0, 0, -2])) == 0.5
    assert scores.accuracy(answers, np.array([-2, -2, -2])) is None
    windows = [
        {"group": "a", "scored": 10, "served": 1.0},
        {"group": "a", "scored": 30, "served": 0.0},
        {"group": "b", "scored": 5, "served": 0.5},
        {"group": "", "scored": 0, "served": None},
    ]
    assert scores.by_group(windows, "served") == [0.25, 0.5]


def test_pooled_bins_give_the_calibration_error_of_all_rows_together():
    rng = np.random.default_rng(1)
    answers, y = rng.dirichlet(np.ones(4), size=500).astype(np.float32), rng.integers(4, size=500)
    parts = [scores.binned(answers[part], y[part]) for part in (slice(0, 100), slice(100, 500))]
    expected = expected_calibration_error(answers.max(axis=1), answers.argmax(axis=1) == y)
    assert scores.calibration_error(scores.pooled_bins(parts)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("gained", "lost"), [(0, 5), (1, 5), (10, 25), (30, 30), (0, 4), (7, 0), (0, 0)]
)
def test_a_promotion_is_harmful_when_the_exact_paired_test_says_so(gained, lost):
    y = np.zeros(100, dtype=np.int64)
    right, wrong = np.array([0.9, 0.1]), np.array([0.1, 0.9])
    new = np.tile(right, (100, 1))
    old = new.copy()
    old[:gained] = wrong
    new[gained : gained + lost] = wrong
    found = scores.paired(new.astype(np.float32), old.astype(np.float32), y)
    assert (found["gained"], found["lost"]) == (gained, lost)
    p = binomtest(lost, gained + lost, alternative="greater").pvalue if gained + lost else 1.0
    assert found["p"] == pytest.approx(p, abs=1e-6)
    assert found["harmful"] == (p <= 0.05)


def record(served: list[float], frozen: list[float], method: str, **window: Any) -> dict[str, Any]:
    shown = [
        {
            "window": number,
            "group": "",
            "rows": 100,
            "scored": 100,
            "served": mine,
            "frozen": theirs,
            "bins": [[0.0] * 15] * 3,
            "frozen_bins": [[0.0] * 15] * 3,
            "after_promotion": None,
            "outcome": "n",
            "detail": "",
            **window,
        }
        for number, (mine, theirs) in enumerate(zip(served, frozen, strict=True), start=1)
    ]
    return {"method": method, "windows": shown}


def test_the_gap_closed_is_of_means_over_the_seeds_that_both_have():
    frozen = [0.6, 0.4]
    found = figures.gathered(
        {
            ("synthetic", "ours", 0): record([0.8, 0.7], frozen, "ours"),
            ("synthetic", "ours", 1): record([0.2, 0.2], frozen, "ours"),
            ("synthetic", "oracle", 0): record([0.8, 0.8], frozen, "oracle"),
            ("fifty", "ours", 0): record([0.9, 0.9], [0.9, 0.9], "ours"),
            ("fifty", "oracle", 0): record([0.91, 0.91], [0.9, 0.9], "oracle"),
        }
    )
    row = found["synthetic"]
    assert row.gap("ours") == pytest.approx(0.25 / 0.3)
    assert row.gap("ours", row.last) == pytest.approx(0.3 / 0.4)
    assert row.gains("ours") == {0: pytest.approx(0.25), 1: pytest.approx(-0.3)}
    assert found["fifty"].gap("ours") is None


def test_a_demand_passes_fails_or_was_not_measured():
    compared = {"gained": 1, "lost": 9, "harmful": True}
    records = {
        ("still-vector", "ours", 0): record([0.795], [0.8], "ours", after_promotion=compared),
        ("jump", "ours", 0): record([0.5] * 10, [0.5] * 10, "ours", outcome="A"),
    }
    found = {
        (each.demand, each.of): each for each in musts.demands(figures.gathered(records), gates=[])
    }
    assert found["served - frozen, mean", "still-vector"].verdict == "FAIL"
    assert found["served - frozen, worst seed", "still-vector"].verdict == "PASS"
    assert found["alarm in the window of the jump", "jump"].verdict == "PASS"
    assert (
        found["label-free changes of the answering version while the alarm stands", "jump"].verdict
        == "PASS"
    )
    assert found["served - frozen, worst window after the jump", "jump"].verdict == "PASS"
    assert found["harmful promotions", "all streams, label-free"].verdict == "FAIL"
    assert found["mean accuracy of seven batches", "gas"].verdict == "not measured"


@pytest.mark.slow
def test_a_run_of_cells_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = [Cell(row="jump-vector", method="frozen", seed=0)]
    first = list(cells.run_all(plan, jobs=1, folder=tmp_path / "cells"))
    assert first[0] == "1 cells, 0 known, 1 to play" and "FAILED" not in first[1]
    kept = cells.known(plan[0], tmp_path / "cells")
    assert kept is not None and [window["rows"] for window in kept["windows"]] == [300] * 10
    assert all(window["served"] == window["frozen"] for window in kept["windows"])
    assert list(cells.run_all(plan, jobs=1, folder=tmp_path / "cells")) == [
        "1 cells, 1 known, 0 to play"
    ]


def test_a_cell_is_kept_under_the_code_it_hangs_on_and_not_under_words(tmp_path, monkeypatch):
    folder = tmp_path / "benchmarks" / "streams"
    folder.mkdir(parents=True)
    monkeypatch.setattr(sources, "ROOT", tmp_path)

    def digest_of(two: str) -> str:
        (folder / "one.py").write_text("from benchmarks.streams.two import x\n")
        (folder / "two.py").write_text(two)
        sources.closure.cache_clear()
        sources._tree.cache_clear()
        return sources.digest(("benchmarks.streams.one",))

    try:
        before = digest_of('"""Words."""\nx = 1\nDEFINITIONS = ("a",)\n')
        assert digest_of('"""Others."""\nx = 1  # more\nDEFINITIONS = ("b",)\n') == before
        assert digest_of("x = 2\n") != before
    finally:
        sources.closure.cache_clear()
        sources._tree.cache_clear()


def test_a_changed_rule_of_the_loop_leaves_the_cells_of_baselines():
    ours = sources.closure(frozenset(["benchmarks.streams.play"]))
    theirs = sources.closure(frozenset(["benchmarks.streams.baselines", "benchmarks.streams.tent"]))
    names = ("pipeline", "drift.detector", "evaluation.gates", "training.pseudo_labels")
    rules = {f"acclimate.learning.{name}" for name in names}
    assert rules <= ours and not rules & theirs
    assert "acclimate.learning.training.student" in theirs


@pytest.mark.slow
def test_every_method_starts_from_the_version_that_the_loop_begins_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stream = catalogue.ALL["synthetic"].build(0)
    task = Task.of("synthetic", 0, stream)
    task = task.with_network(network="mlp", args={"hidden": [16]}, members=1)
    assert task.spec.network == NetworkSpec(network="mlp", args={"hidden": [16]}, members=1)
    step = pipeline.plain_step(starts.run_number(0, 0))
    begun = pipeline.begin(task.spec, task.parts, step=step).student
    x = stream.windows[0].x
    expected = begun.network_probabilities(x)
    assert np.array_equal(starts.anchor(task).network_probabilities(x), expected)  # trained here
    assert np.array_equal(starts.anchor(task).network_probabilities(x), expected)  # read back
    assert np.array_equal(Ours(task, 12).answers(x), expected)


def test_few_rows_wait_for_the_next_window(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    classes, rng = Gaussians.placed(0, classes=2, size=4), np.random.default_rng(0)
    first = classes.of(classes.uniform(200, rng), rng)
    windows = [classes.of(classes.uniform(rows, rng), rng) for rows in (100, 50)]
    task = Task.of("tiny", 0, classes.stream(first, windows))
    learner = Ours(task.with_network(args={"hidden": [8]}, members=1), 2)
    told = [learner.learn(x, y, learner.answers(x)) for x, y in windows]
    assert told[0].outcome == "w" and told[1].outcome != "w"
    assert told[1].told["drift"]["effects"]["input"]["n"] > 100


def test_a_learner_that_falls_behind_is_shadowed_and_goes_on_learning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    classes, rng = Gaussians.placed(0, classes=2, size=4, apart=3.0), np.random.default_rng(0)
    first = classes.of(classes.uniform(200, rng), rng)
    x, y = classes.of(classes.uniform(300, rng), rng)
    task = Task.of("tiny", 0, classes.stream(first, []))
    learner = Ours(task.with_network(args={"hidden": [8]}, members=1), 2)
    learner.standing = replace(learner.standing, shown=True)
    for hotter, serving in ((1.0, 2), (50.0, 1)):
        unsure = replace(learner.anchor, temperature=hotter * learner.anchor.temperature)
        learner.versions += 1
        learner.learner = Held(version=learner.versions, bundle=unsure, expected=None)
        learner.learn(x, y, learner.answers(x))
        assert learner.serving.version == serving
    assert learner.learner.version == 3


def test_the_labels_of_a_window_judge_in_it_and_teach_in_the_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    classes, rng = Gaussians.placed(0, classes=2, size=4), np.random.default_rng(0)
    first = classes.of(classes.uniform(200, rng), rng)
    windows = [classes.of(classes.uniform(200, rng), rng) for _ in range(2)]
    task = Task.of("tiny", 0, classes.stream(first, windows)).with_network(
        args={"hidden": [8]}, members=1
    )
    learner = OursAudited(task, 2)
    taught = []
    for x, y in windows:
        taught.append(learner.snapshot(np.empty(0, dtype=np.int64)).taught)
        learner.learn(x, y, learner.answers(x))
    (x, y), labelled = windows[0], learner.labelled[0]
    assert taught[0] is None and len(taught[1]) == AUDITED == len(labelled)
    rows = [int(np.flatnonzero((x == row).all(axis=1))[0]) for row in labelled.x]
    assert len(set(rows)) == AUDITED and (y[rows] == labelled.y).all()


def test_what_is_absent_is_skipped_by_name_and_a_report_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCLIMATE_STREAMS", str(tmp_path))
    cell = Cell(row="still-vector", method="ours", seed=0)
    cells.keep(cell, {**record([0.8], [0.8], "ours"), "seed": 0})
    arguments = [
        "--only",
        "keystroke,still-vector",
        "--methods",
        "ours",
        "--seeds",
        "0",
        "--report-only",
        "--out",
        "r",
    ]
    assert command.main(arguments) == 0
    assert "skipped keystroke:" in capsys.readouterr().out
    tables = (tmp_path / "r" / "tables.md").read_text()
    assert re.search(r"served - frozen, mean \| still-vector \| \+0.00 points .* PASS", tables)
    assert "Skipped, their files were absent: keystroke." in tables
    assert json.loads((tmp_path / "r" / "results.json").read_text())["skipped"] == ["keystroke"]
    assert (tmp_path / "r" / "accuracy-still-vector.png").stat().st_size > 1000


def test_an_unknown_stream_is_refused_with_those_there_are(capsys):
    assert command.main(["--only", "digitz"]) == 2
    assert "digits-vector" in capsys.readouterr().err
    assert (
        "prior-image" in catalogue.chosen(["prior"])
        and catalogue.chosen(["digits*"])[0] == "digits"
    )


def test_simulated_students_differ_from_the_anchor_by_as_much_as_they_should():
    rng = np.random.default_rng(0)
    for accuracy, difference in ((0.9, -0.02), (0.75, -0.1), (0.97, 0.0), (0.9, 0.02)):
        anchor = rng.permutation(1000) < round(1000 * accuracy)
        made = [
            gates.student(anchor, accuracy, difference, rng).mean() - accuracy for _ in range(300)
        ]
        assert np.mean(made) == pytest.approx(difference, abs=0.003)


def test_the_gate_passes_few_students_worse_by_the_margin_and_most_that_are_better():
    setting = gates.Setting(rows=300, accuracy=0.9, amount=1.0)
    assert gates.passes(setting, -setting.margin, runs=60, seed=0) <= 0.15
    assert gates.passes(setting, 0.0, runs=60, seed=0) >= 0.8


def test_an_exported_stream_is_what_the_benchmark_plays(tmp_path):
    export.main(["still-vector", "3", str(tmp_path)])
    stream = catalogue.definition("still-vector").build(3)
    spec = parse((tmp_path / "spec.toml").read_text())
    assert (spec.input, spec.network, spec.policy.learnable) == (
        stream.input,
        stream.network,
        "auto",
    )
    with np.load(tmp_path / "stream.npz", allow_pickle=False) as arrays:
        for number, window in enumerate(stream.windows, 1):
            assert np.array_equal(arrays["x"][arrays["t"] == number], window.x)
            assert np.array_equal(arrays["y"][arrays["t"] == number], window.y)
    with np.load(tmp_path / "seed.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["x"], stream.seed_x) and np.array_equal(
            arrays["y"], stream.seed_y
        )
