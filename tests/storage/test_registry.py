"""The registry: models, versions, revisions, and promotions."""

from __future__ import annotations

import threading

import pytest
from stored_models import at_once, let_die, new_model, new_version, spec

from acclimate.storage.database import Database
from acclimate.storage.log import windows
from acclimate.storage.registry import models, promotions, replicas, revisions, versions


def test_a_name_is_given_once(database):
    model_id = new_model(database)
    with database.write() as connection, pytest.raises(models.ModelExists):
        models.create(connection, spec(), seed_digest="sha256:x", actor="test")
    with database.read() as connection:
        assert [row["id"] for row in models.list_all(connection)] == [model_id]
        assert models.named(connection, "gas")["spec"] == spec().as_json() | {
            "input": {"kind": "vector", "shape": [2], "classes": ["a", "b"]}
        }


def test_of_two_that_create_one_name_at_once_one_is_told_that_it_exists(database):
    def create(connection):
        return models.create(connection, spec(), seed_digest="sha256:x", actor="test")

    found = at_once(database, [create] * 4)
    assert sorted(type(result).__name__ for result in found) == ["ModelExists"] * 3 + ["str"]


def test_a_new_model_has_an_open_window_and_first_revisions_of_its_rules(database):
    model_id = new_model(database)
    with database.read() as connection:
        known = windows.list_all(connection, model_id)
        assert [(row["number"], row["state"]) for row in known] == [(1, "open")]
        assert revisions.policy(connection, model_id) == (1, spec().policy)
        assert revisions.gates(connection, model_id) == (1, spec().gates)
        assert promotions.champion(connection, model_id) is None


def test_settings_that_a_newer_release_stored_are_read_without_what_is_unknown_here(database):
    model_id = new_model(database)
    with database.write() as connection:
        for kind in ("policy", "gates"):
            _, content = revisions.get(connection, model_id, kind)
            newer = {**content, "of_a_newer_release": 3}
            revisions.append(connection, model_id, kind, newer, actor="later", expected=1)
        assert revisions.policy(connection, model_id) == (2, spec().policy)
        assert revisions.policies(connection) == {model_id: spec().policy}
        assert revisions.gates(connection, model_id) == (2, spec().gates)
        assert revisions.get(connection, model_id, "policy")[1]["of_a_newer_release"] == 3


def test_an_unknown_model_and_version_are_said_to_be_unknown(database):
    model_id = new_model(database)
    with database.read() as connection:
        with pytest.raises(models.UnknownModel):
            models.named(connection, "nobody")
        with pytest.raises(versions.UnknownVersion):
            versions.get(connection, model_id, 1)


def test_versions_count_up_from_the_highest_rejected_ones_among_them(database):
    model_id, other = new_model(database), new_model(database, "other")
    with database.write() as connection:
        numbers = [
            new_version(connection, model_id, promoted=promoted) for promoted in (True, False, True)
        ]
        assert numbers == [1, 2, 3]
        assert new_version(connection, other) == 1
        assert [row["state"] for row in versions.list_all(connection, model_id)] == [
            "promoted",
            "rejected",
            "promoted",
        ]


def test_a_promotion_moves_the_epoch_and_remembers_where_it_came_from(database):
    model_id = new_model(database)
    with database.write() as connection:
        new_version(connection, model_id)
        assert promotions.previous(connection, model_id) is None
        new_version(connection, model_id)
        champion = promotions.champion(connection, model_id)
        assert (champion.epoch, champion.from_version, champion.to_version) == (2, 1, 2)
        assert promotions.previous(connection, model_id) == 1


def test_a_rollback_is_a_new_epoch_at_the_version_before(database):
    model_id = new_model(database)
    with database.write() as connection:
        for _ in range(3):
            new_version(connection, model_id)
        assert promotions.roll_back(
            connection, model_id, to=None, actor="anna", reason="worse"
        ) == (
            4,
            2,
        )
        assert promotions.previous(connection, model_id) == 3
        assert promotions.roll_back(
            connection, model_id, to=1, actor="anna", reason="worse still"
        ) == (5, 1)
        history = promotions.list_all(connection, model_id)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5]
    assert [(row["kind"], row["from_version"], row["to_version"]) for row in history[3:]] == [
        ("rollback", 3, 2),
        ("rollback", 2, 1),
    ]
    assert history[3]["evidence"] is None and history[3]["actor"] == "anna"


def test_there_is_no_rollback_to_what_never_served(database):
    model_id = new_model(database)
    with database.write() as connection:
        new_version(connection, model_id)
        new_version(connection, model_id, promoted=False)
        for to in (None, 2, 9):
            with pytest.raises(versions.UnknownVersion):
                promotions.roll_back(connection, model_id, to=to, actor="anna", reason="try")
        assert promotions.champion(connection, model_id).epoch == 1


def test_a_promotion_on_a_stale_epoch_changes_nothing(database):
    model_id = new_model(database)
    with database.write() as connection:
        new_version(connection, model_id)
        new_version(connection, model_id)
        for expected in (1, 3, 0):
            with pytest.raises(models.EpochMoved):
                promotions.make_champion(
                    connection, model_id, 1, expected=expected, actor="a", reason="r", override=True
                )
        assert promotions.champion(connection, model_id).epoch == 2


def test_of_two_operators_on_one_epoch_one_moves_it(database):
    model_id = new_model(database)
    with database.write() as connection:
        new_version(connection, model_id)
        new_version(connection, model_id)

    def promote(connection):
        return promotions.make_champion(
            connection, model_id, 1, expected=2, actor="a", reason="r", override=False
        )

    found = at_once(database, [promote] * 4)
    assert sorted(str(result) if result == 3 else type(result).__name__ for result in found) == [
        "3",
        "EpochMoved",
        "EpochMoved",
        "EpochMoved",
    ]


def test_a_version_that_failed_its_gates_becomes_champion_only_by_an_override_on_record(database):
    model_id = new_model(database)
    with database.write() as connection:
        new_version(connection, model_id)
        new_version(connection, model_id, promoted=False)
        asked = {"expected": 1, "actor": "anna", "reason": "I know better"}
        with pytest.raises(promotions.GateNotPassed):
            promotions.make_champion(connection, model_id, 2, **asked, override=False)
        assert promotions.champion(connection, model_id).to_version == 1
        assert promotions.make_champion(connection, model_id, 2, **asked, override=True) == 2
        last = promotions.list_all(connection, model_id)[-1]
    assert (last["kind"], last["to_version"], last["evidence"]) == ("override", 2, None)
    assert (last["actor"], last["reason"]) == ("anna", "I know better")


def test_the_champion_is_not_made_champion_again(database):
    model_id = new_model(database)
    with database.write() as connection:
        new_version(connection, model_id)
        new_version(connection, model_id)
        with pytest.raises(promotions.AlreadyChampion):
            promotions.make_champion(
                connection, model_id, 2, expected=2, actor="a", reason="r", override=True
            )
        with pytest.raises(promotions.AlreadyChampion):
            promotions.roll_back(connection, model_id, to=2, actor="a", reason="r")
        assert promotions.aliases(connection, model_id) == {
            "champion": 2,
            "previous": 1,
            "learner": 2,
            "proved": 1,
            "anchor": 1,
        }


def test_a_switch_changes_who_answers_and_leaves_the_learner_alone(database):
    model_id = new_model(database)
    with database.write() as connection:
        new_version(connection, model_id)
        new_version(connection, model_id)
        told = {"actor": "watch", "reason": "r", "run_id": None, "comparison": {"n": 9}}
        promotions.switch(connection, model_id, 1, **told)
        named = promotions.aliases(connection, model_id)
        assert (named["champion"], named["learner"], named["previous"]) == (1, 2, 2)
        assert promotions.list_all(connection, model_id)[-1]["comparison"] == {"n": 9}
        new_version(connection, model_id)
        assert promotions.learner(connection, model_id) == 3
        promotions.roll_back(connection, model_id, to=2, actor="a", reason="r")
        assert promotions.learner(connection, model_id) == 2


def test_an_operator_undoes_a_switch_or_lets_learning_go_on_from_what_answers(database):
    model_id = new_model(database)
    told = {"actor": "watch", "reason": "r", "run_id": None, "comparison": {"n": 9}}
    with database.write() as connection:
        for _ in range(3):
            new_version(connection, model_id)
        promotions.switch(connection, model_id, 1, **told)
        asked = {"actor": "anna", "reason": "r"}
        promotions.make_champion(connection, model_id, 3, expected=4, override=False, **asked)
        named = promotions.aliases(connection, model_id)
        assert (named["champion"], named["learner"], named["previous"]) == (3, 3, 1)
        promotions.switch(connection, model_id, 1, **told)
        assert promotions.roll_back(connection, model_id, to=1, **asked) == (7, 1)
        named = promotions.aliases(connection, model_id)
        assert (named["champion"], named["learner"], named["previous"]) == (1, 1, 3)
        with pytest.raises(promotions.AlreadyChampion):
            promotions.roll_back(connection, model_id, to=1, **asked)


def test_the_version_proved_last_is_the_proved_one_and_version_1_before_any(database):
    model_id = new_model(database)
    with database.write() as connection:
        for _ in range(3):
            new_version(connection, model_id)
        assert versions.proved(connection, model_id) == 1
        versions.set_proved(connection, model_id, 3, {"gains": 8})
        versions.set_proved(connection, model_id, 2, {"gains": 9})
        assert versions.proved(connection, model_id) == 2
        assert versions.get(connection, model_id, 2)["proof"] == {"gains": 9}


def test_an_override_of_a_version_that_passed_is_an_ordinary_promotion(database):
    model_id = new_model(database)
    with database.write() as connection:
        new_version(connection, model_id)
        new_version(connection, model_id)
        promotions.make_champion(
            connection, model_id, 1, expected=2, actor="a", reason="r", override=True
        )
        assert promotions.list_all(connection, model_id)[-1]["kind"] == "promote"


def test_rules_are_revised_only_by_who_saw_the_newest(database):
    model_id = new_model(database)
    with database.write() as connection:
        _, content = revisions.get(connection, model_id, "policy")
        changed = {**content, "min_window_rows": 40}
        assert revisions.append(connection, model_id, "policy", changed, actor="a", expected=1) == 2
        with pytest.raises(models.EpochMoved):
            revisions.append(connection, model_id, "policy", content, actor="b", expected=1)
        assert revisions.policy(connection, model_id)[1].min_window_rows == 40
        assert revisions.policy(connection, model_id, 1)[1].min_window_rows == 150
        assert revisions.get(connection, model_id, "gates")[0] == 1


def served_at(database: Database, model_id: str) -> list[float | None]:
    with database.read() as connection:
        return [row["served_at"] for row in promotions.list_all(connection, model_id)]


def test_a_promotion_counts_as_served_when_the_last_live_replica_answers_with_it(database):
    model_id = new_model(database)
    with database.write() as connection:
        new_version(connection, model_id)
        for replica in ("api-0", "api-1", "api-2"):
            replicas.heartbeat(connection, replica, {})
    let_die(database, "api-2", seconds=11)
    with database.write() as connection:
        replicas.report_loaded(connection, "api-0", model_id, version=1, epoch=1)
    assert served_at(database, model_id) == [None]
    with database.write() as connection:
        replicas.report_loaded(connection, "api-1", model_id, version=1, epoch=1)
    first = served_at(database, model_id)
    assert first[0] is not None
    with database.write() as connection:
        new_version(connection, model_id)
        replicas.report_loaded(connection, "api-0", model_id, version=2, epoch=2)
    assert served_at(database, model_id) == [*first, None]


def test_a_promotion_counts_as_served_when_the_last_replicas_report_at_once(database):
    model_id = new_model(database)
    with database.write() as connection:
        new_version(connection, model_id)
        for replica in ("api-0", "api-1"):
            replicas.heartbeat(connection, replica, {model_id: 0})
    reported = threading.Semaphore(0)

    def report(replica):
        def deed(connection):
            replicas.report_loaded(connection, replica, model_id, version=1, epoch=1)
            # Hold the transaction open until the other one has reported too, if it can.
            reported.release()
            for _ in range(2):
                reported.acquire(timeout=0.3)

        return deed

    at_once(database, [report("api-0"), report("api-1")])
    assert served_at(database, model_id)[0] is not None


def test_a_replica_that_cannot_load_says_so_until_it_can(database):
    model_id = new_model(database)
    with database.write() as connection:
        new_version(connection, model_id)
        replicas.heartbeat(connection, "api-0", {})
        replicas.report_problem(connection, "api-0", model_id, "digest differs")
        assert replicas.list_live(connection, model_id)[0]["problem"] == "digest differs"
        replicas.report_loaded(connection, "api-0", model_id, version=1, epoch=1)
        live = replicas.list_live(connection, model_id)[0]
    assert (live["problem"], live["version"], live["epoch"]) == (None, 1, 1)
