"""The two speeds of the tests: each test is run by one of them, and the fast one proves the
main job.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys

import pytest
from house_rules import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
SPEEDS = dict(re.findall(r"^(FAST|REST) := (.+)$", MAKEFILE, flags=re.MULTILINE))
MARKS = ("slow", "postgres", "drill", "soak", "gpu")
BY_THEMSELVES = {"drill", "soak", "gpu"}
"""`make faults`, `make soak` and a machine with a GPU run these."""

JOURNEY = "tests/journeys/test_journey.py::test_"
RECOVERY = "tests/storage/test_recovery.py::test_"
KILLS = "tests/faults/test_kills.py::test_"
STYLE = "tests/house/test_style.py::test_the_whole_project_is_clean"
PROOFS = {
    "journey": (
        f"{JOURNEY}version_1_is_trained_by_an_ordinary_run_and_served",
        f"{JOURNEY}an_unlabeled_window_is_learnt_judged_promoted_and_answered_with",
        f"{JOURNEY}the_promoted_version_beats_the_frozen_one_on_unlabelled_drift",
        f"{JOURNEY}two_hundred_answers_are_given_again_by_the_versions_they_name",
        f"{JOURNEY}a_rollback_is_a_promotion_of_the_earlier_version_and_pauses_learning",
    ),
    "journal": (
        f"{JOURNEY}every_acknowledged_row_is_in_exactly_one_window",
        f"{RECOVERY}the_journal_cut_at_every_byte_keeps_every_whole_batch_before_the_cut",
        f"{RECOVERY}a_flip_of_any_byte_costs_only_the_batch_it_is_in",
        f"{RECOVERY}recovery_leaves_a_live_writer_alone_and_finds_its_rows_once_it_was_killed",
    ),
    "gates": (
        f"{JOURNEY}a_window_of_junk_is_refused_and_quarantined_while_the_champion_stays",
        "tests/learning/test_gates.py::test_a_real_student_passes_every_gate_label_free",
        "tests/learning/test_pipeline.py::test_digits_that_slowly_turn_are_followed_and_noise",
    ),
    "scopes": (
        "tests/service/test_scopes.py::test_every_route_asks_for_exactly_one_scope",
        "tests/service/test_scopes.py::test_a_route_refuses_missing_and_wrong_keys_and_scopes",
        "tests/service/test_scopes.py::test_a_route_lets_in_who_has_its_scope",
    ),
    "erasure": (
        "tests/service/test_erasing_subjects.py::test_what_a_subject_sent_is_gone_from_closed_and",
        "tests/storage/test_deletion.py::test_of_a_deleted_model_only_the_record_stays",
    ),
    "kills": (
        f"{KILLS}a_run_whose_trainer_is_killed_goes_on_in_another_attempt_and_ends_once",
        f"{KILLS}rows_acknowledged_during_kills_are_in_the_log_exactly_once",
        f"{KILLS}killing_the_supervisor_leaves_no_orphan_and_the_same_command_recovers",
    ),
    "house": (
        f"{STYLE}[check]",
        f"{STYLE}[format]",
        f"{STYLE}[types]",
        "tests/house/test_imports.py::test_the_contracts_are_kept",
        "tests/house/test_house_rules.py::test_every_python_file_keeps_the_rule",
    ),
}


def lost(proofs: tuple[str, ...], selected: list[str]) -> list[str]:
    """The proofs that no selected test starts with."""
    return [proof for proof in proofs if not any(test.startswith(proof) for test in selected)]


@pytest.fixture(scope="module")
def fast() -> list[str]:
    """What `make test` selects of the files that have the proofs."""
    files = sorted({proof.partition("::")[0] for proofs in PROOFS.values() for proof in proofs})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", SPEEDS["FAST"], *files]
    # Options of whoever runs the tests would change what is listed.
    plain = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=plain)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if "::" in line]


@pytest.mark.parametrize("what", PROOFS)
def test_the_fast_tests_prove(fast, what):
    assert lost(PROOFS[what], fast) == []


def test_a_proof_that_is_lost_is_named():
    assert lost(("a.py::test_b", "a.py::test_c"), ["a.py::test_b[sqlite]"]) == ["a.py::test_c"]


def test_the_fast_tests_need_no_postgres(fast):
    assert [test for test in fast if "postgres" in test.partition("::")[2]] == []


def test_whatever_its_marks_a_test_runs_at_one_speed_or_by_itself():
    for marks in itertools.chain.from_iterable(itertools.combinations(MARKS, n) for n in range(6)):
        names = {mark: mark in marks for mark in MARKS}
        chosen = [speed for speed, expression in SPEEDS.items() if eval(expression, {}, names)]
        assert len(chosen) == (0 if BY_THEMSELVES & set(marks) else 1), (marks, chosen)


def test_ci_runs_both_speeds_and_the_fast_one_first():
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "make test test-all"
    recipes = re.findall(
        r'^(test(?:-all)?): .*\n\t.*-m "\$\((\w+)\)"$', MAKEFILE, flags=re.MULTILINE
    )
    assert recipes == [("test", "FAST"), ("test-all", "REST")]
