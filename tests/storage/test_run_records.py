"""What is stored beside a run: events, finished stages, the request that started it, log lines."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from stored_models import (
    DIGEST,
    at_once,
    expire_lease,
    log_segment,
    new_model,
    new_run,
    new_version,
)

from acclimate.learning.data import Past
from acclimate.storage.database import Database
from acclimate.storage.log import windows
from acclimate.storage.registry import models
from acclimate.storage.runs import idempotency, run_events, run_start, runs, stages
from acclimate.storage.runs.idempotency import IdempotentRequest, KeyReused
from acclimate.storage.runs.run_logs import MOST_BYTES, RunLogs
from acclimate.storage.runs.runs import Claim, LeaseLost
from acclimate.storage.store import Store

GATES = [{"gate": "max_ece", "verdict": "pass"}, {"gate": "agreement", "verdict": "fail"}]
OTHER = "sha256:" + "1" * 64


def claimed(database: Database, model_id: str) -> Claim:
    with database.write() as connection:
        found = runs.claim(connection, new_run(connection, model_id), owner="worker-0")
    assert found is not None
    return found


def told(database: Database, run_id: str, after: int = 0) -> list[tuple[str, Any]]:
    with database.read() as connection:
        events = run_events.after(connection, run_id, after)
    assert [event["sequence"] for event in events] == list(
        range(after + 1, after + 1 + len(events))
    )
    return [(event["kind"], event["content"]) for event in events]


def test_every_change_of_a_run_is_an_event_in_order(database):
    held = claimed(database, new_model(database))
    with database.write() as connection:
        assert runs.enter_stage(connection, held, "train", lease_seconds=20) == "running"
        runs.heartbeat(
            connection, held, stage="train", progress={"done": 1, "total": 2}, lease_seconds=20
        )
        runs.finish(
            connection,
            held,
            state="rejected",
            results=runs.RunResults(detail="no gain", gates=GATES),
        )
    assert told(database, held.run_id) == [
        ("state", {"state": "queued", "attempt": 0}),
        ("state", {"state": "running", "attempt": 1}),
        ("stage", {"stage": "train", "attempt": 1}),
        ("progress", {"stage": "train", "done": 1, "total": 2}),
        ("gate", GATES[0]),
        ("gate", GATES[1]),
        ("state", {"state": "rejected", "attempt": 1}),
        (
            "end",
            {
                "state": "rejected",
                "promoted": False,
                "version": None,
                "evidence": None,
                "detail": "no gain",
            },
        ),
    ]
    assert told(database, held.run_id, after=7)[0][0] == "end"


@pytest.mark.parametrize("how", ["queued", "running", "its trainer dead", "its attempts used up"])
def test_every_way_to_end_tells_the_end_once(database, how):
    model_id = new_model(database)
    with database.write() as connection:
        run_id = new_run(connection, model_id)
    if how != "queued":
        for _ in range(3 if how == "its attempts used up" else 1):
            with database.write() as connection:
                held = runs.claim(connection, run_id, owner="worker-0")
            if how != "running":
                expire_lease(database, run_id)
    with database.write() as connection:
        if how != "its attempts used up":
            runs.cancel(connection, run_id)
        if how == "running":
            runs.finish(connection, held, state="cancelled")
        elif how != "queued":
            assert runs.claim(connection, run_id, owner="worker-1") is None
    kinds = [kind for kind, _ in told(database, run_id)]
    end = "failed" if how == "its attempts used up" else "cancelled"
    assert kinds.count("end") == 1 and told(database, run_id)[-1][1]["state"] == end
    assert [content["state"] for kind, content in told(database, run_id) if kind == "state"][
        -1
    ] == end


def test_progress_is_told_at_most_once_a_second_and_kept_finely_in_the_run(database):
    held = claimed(database, new_model(database))
    for done in range(5):
        with database.write() as connection:
            runs.heartbeat(
                connection, held, stage="train", progress={"done": done}, lease_seconds=20
            )
    assert [
        content["done"] for kind, content in told(database, held.run_id) if kind == "progress"
    ] == [0]
    with database.write() as connection:
        assert runs.get(connection, held.run_id)["progress"] == {"done": 4}
        connection.execute(text("UPDATE run_events SET at = at - 1.1"))
        runs.heartbeat(connection, held, stage="train", progress={"done": 9}, lease_seconds=20)
    assert [
        content["done"] for kind, content in told(database, held.run_id) if kind == "progress"
    ] == [0, 9]


def test_writers_that_meet_give_events_sequences_of_their_own(database):
    held = claimed(database, new_model(database))

    def enter(connection):
        return runs.enter_stage(connection, held, "judge", lease_seconds=20)

    def cancel(connection):
        return runs.cancel(connection, held.run_id)

    found = at_once(database, [enter, cancel, enter, cancel, enter])
    assert not [result for result in found if isinstance(result, Exception)]
    kinds = [kind for kind, _ in told(database, held.run_id)]
    assert sorted(kinds) == ["stage"] * 3 + ["state"] * 3


def test_a_finished_stage_is_there_for_the_next_attempt_and_a_stale_one_stores_nothing(database):
    model_id = new_model(database)
    stale = claimed(database, model_id)
    with database.write() as connection:
        stages.finish(connection, stale, "diagnose", DIGEST)
    expire_lease(database, stale.run_id)
    with database.write() as connection:
        newer = runs.claim(connection, stale.run_id, owner="worker-1")
    with pytest.raises(LeaseLost), database.write() as connection:
        stages.finish(connection, stale, "train", OTHER)
    with database.write() as connection:
        assert stages.finished(connection, newer.run_id) == {"diagnose": DIGEST}
        stages.finish(connection, newer, "diagnose", OTHER)  # done again: the kept one was lost
        assert stages.finished(connection, newer.run_id) == {"diagnose": OTHER}


def test_stage_results_of_an_ended_run_are_kept_while_referred_to(database):
    model_id = new_model(database)
    with database.write() as connection:
        new_version(connection, model_id)  # of the artifact DIGEST, which is the seed set's too
    held = claimed(database, model_id)
    with database.write() as connection:
        stages.finish(connection, held, "train", DIGEST)
        stages.finish(connection, held, "judge", OTHER)
        assert stages.left_over(connection) == []
        assert stages.is_needed(connection, OTHER), "the run goes on"
        runs.finish(connection, held, state="cancelled")
    with database.write() as connection:
        assert {row["stage"]: row["digest"] for row in stages.left_over(connection)} == {
            "train": DIGEST,
            "judge": OTHER,
        }
        assert stages.is_needed(connection, DIGEST) and not stages.is_needed(connection, OTHER)
        for stage in ("train", "judge"):
            stages.delete_stage(connection, held.run_id, stage)
        assert stages.left_over(connection) == []


def once(key: str = "k", fingerprint: str = "f", key_id: str = "01K") -> IdempotentRequest:
    return IdempotentRequest(key_id=key_id, idempotency_key=key, fingerprint=fingerprint)


def startable(database: Database, name: str = "gas") -> str:
    """A model with a champion and a full open window."""
    model_id = new_model(database, name)
    with database.write() as connection:
        new_version(connection, model_id)
    log_segment(database, model_id, rows=200)
    return model_id


def begin(database: Database, asked: IdempotentRequest, model: str = "gas") -> str:
    return run_start.start_run(
        database, run_start.RunRequest(model=model, trigger="operator", actor="anna", once=asked)
    )


def test_the_same_request_starts_one_run_however_often_and_whenever_it_comes(database):
    model_id = startable(database)
    found = (
        at_once(database, [lambda _: begin(database, once())] * 4)
        if "postgres" in database.address
        else []
    )
    found += [begin(database, once()) for _ in range(2)]
    assert len(set(found)) == 1, found
    with database.write() as connection:
        held = runs.claim(connection, found[0], owner="worker-0")
        runs.finish(connection, held, state="rejected")
    log_segment(database, model_id, rows=200)
    assert begin(database, once()) == found[0]
    with database.read() as connection:
        assert len(runs.page(connection, model_id=model_id)) == 2


def test_an_idempotency_key_is_refused_for_another_request(database):
    startable(database)
    startable(database, "other")
    run_id = begin(database, once())
    for asked, model in ((once(fingerprint="g"), "gas"), (once(fingerprint="g"), "other")):
        with pytest.raises(KeyReused):
            begin(database, asked, model)
    with database.read() as connection:
        assert runs.active(connection, runs.get(connection, run_id)["model_id"])["id"] == run_id
    assert begin(database, once(key_id="01L"), "other") != run_id
    with pytest.raises(runs.RunActive):
        begin(database, once(key="another"))


def test_a_request_that_was_refused_may_come_again_under_its_key(database):
    model_id = startable(database)
    begin(database, once(key="first"))
    with pytest.raises(runs.RunActive):
        begin(database, once())
    with database.write() as connection:
        active = runs.active(connection, model_id)["id"]
        runs.cancel(connection, active)
    log_segment(database, model_id, rows=200)
    assert begin(database, once()) != active


def test_a_key_is_free_again_after_24_hours_and_purged(database):
    model_id = startable(database)
    first = begin(database, once())
    with database.write() as connection:
        runs.cancel(connection, first)
        connection.execute(text("UPDATE idempotency_keys SET at = at - 86000"))
        assert idempotency.purge(connection) == 0
        assert idempotency.started_run(connection, once()) == first
        connection.execute(text("UPDATE idempotency_keys SET at = at - 401"))
        assert idempotency.started_run(connection, once()) is None
    log_segment(database, model_id, rows=200)
    second = begin(database, once(fingerprint="other"))
    assert second != first
    with database.write() as connection:
        connection.execute(text("UPDATE idempotency_keys SET at = at - 86401"))
        assert idempotency.purge(connection) == 1


@pytest.mark.parametrize("address", ["file", "memory://logs"])
def test_the_log_of_an_attempt_is_bounded_to_its_newest_lines(tmp_path, address):
    url = f"file://{tmp_path / 'store'}" if address == "file" else address
    logs = RunLogs(Store(url, tmp_path / "cache"))
    assert logs.read("01K", 1) == b""
    for lines in (b"a\n", b"a\nb\n"):
        logs.write("01K", 1, lines)
        assert logs.read("01K", 1) == lines
    logs.write("01K", 2, b"x" * MOST_BYTES + b"\nlast\n")
    assert logs.read("01K", 2) == b"last\n"
    logs.delete("01K", 2)
    assert (logs.read("01K", 1), logs.read("01K", 2)) == (b"", b"")


def test_a_window_that_is_learnt_from_again_is_not_compared_with_itself(database):
    model_id = startable(database)
    for agreement in (0.9, 0.7):
        with database.write() as connection:
            models.lock(connection, model_id)
            number = windows.close(connection, model_id, closed_by="operator", needed=1)["number"]
            windows.note(
                connection, model_id, number, windows.Findings(drift={"agreement": agreement})
            )
        log_segment(database, model_id, rows=200)
    with database.read() as connection:
        found = [windows.past(connection, model_id, before=number) for number in (1, 2, 3)]
    assert found == [None, Past(agreement=0.9), Past(agreement=0.7)]


def test_an_alarm_stands_until_a_later_window_is_good(database):
    model_id = startable(database)
    for agreement, state in ((0.9, "closed"), (0.4, "quarantined"), (0.8, "closed")):
        with database.write() as connection:
            models.lock(connection, model_id)
            number = windows.close(connection, model_id, closed_by="operator", needed=1)["number"]
            windows.note(
                connection,
                model_id,
                number,
                windows.Findings(drift={"agreement": agreement}, state=state),
            )
        log_segment(database, model_id, rows=200)
    with database.read() as connection:
        found = [windows.past(connection, model_id, before=number) for number in (2, 3, 4)]
    assert found == [Past(agreement=0.9), Past(agreement=0.9, standing=True), Past(agreement=0.8)]


def test_three_alarms_in_turn_are_looked_at_anew(database):
    model_id = startable(database)
    for agreement in (0.9, 0.4, 0.5, 0.6):
        state = "closed" if agreement == 0.9 else "quarantined"
        with database.write() as connection:
            models.lock(connection, model_id)
            number = windows.close(connection, model_id, closed_by="operator", needed=1)["number"]
            findings = windows.Findings(drift={"agreement": agreement}, state=state)
            windows.note(connection, model_id, number, findings)
        log_segment(database, model_id, rows=200)
    with database.read() as connection:
        found = [windows.past(connection, model_id, before=number) for number in (4, 5)]
    assert found == [Past(agreement=0.9, standing=True), Past(agreement=0.6, anew=True)]
