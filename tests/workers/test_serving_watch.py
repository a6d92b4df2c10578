"""When learner and proved version are compared between two runs, and when a hold ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from live_rows import Live, answers

from acclimate.settings import Settings
from acclimate.storage.database import Database
from acclimate.storage.registry import holds, models, promotions, versions
from workers import serving_watch
from workers.live_answers import LastChecked


@pytest.fixture
def live(database: Database, tmp_path: Path) -> Live:
    """Version 2 learnt and answers; a comparison needs a hundred rows."""
    live = Live(database, tmp_path)
    live.policy(watch_rows=100)
    live.add_version()
    return live


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The comparisons that would have begun; each slot of time is over at once."""
    found: list[Any] = []
    monkeypatch.setattr(serving_watch, "_compare", lambda settings, due: found.append(due.state))
    monkeypatch.setattr(serving_watch, "SECONDS_BETWEEN", 1e-9)
    return found


def poll(live: Live, seen: LastChecked) -> None:
    serving_watch.poll(Settings(home=live.folder), live.database, seen)


def test_versions_are_compared_each_time_that_enough_rows_came(live, compared):
    seen = LastChecked()
    live.log(2, answers(60))
    poll(live, seen)
    assert compared == []
    live.log(2, answers(60))
    poll(live, seen)
    poll(live, seen)
    assert [state[1] for state in compared] == [1]
    live.log(2, answers(90))
    poll(live, seen)
    assert [state[1] for state in compared] == [1, 2]


def test_many_rows_are_compared_once_in_a_while(live, compared, monkeypatch):
    monkeypatch.setattr(serving_watch, "SECONDS_BETWEEN", 1e9)
    seen = LastChecked()
    for _ in range(3):
        live.log(2, answers(120))
        poll(live, seen)
    assert len(compared) == 1


def test_a_version_that_is_proved_or_not_watched_is_not_compared(live, compared):
    live.log(2, answers(200))
    live.policy(watch_rows=0)
    poll(live, LastChecked())
    live.policy(watch_rows=100)
    with live.database.write() as connection:
        models.lock(connection, live.model_id)
        versions.set_proved(connection, live.model_id, 2, {})
    poll(live, LastChecked())
    assert compared == []


def test_a_version_that_an_operator_brought_back_is_left_alone(live, compared):
    live.log(2, answers(200))
    with live.database.write() as connection:
        models.lock(connection, live.model_id)
        for version in (1, 2):
            promotions.promote(
                connection, live.model_id, version, kind="promote", actor="anna", reason="back"
            )
    poll(live, LastChecked())
    assert compared == []


def test_a_learner_that_does_not_answer_is_left_to_the_runs(live, compared):
    live.switch(1, {}, "the learner fell behind")
    live.log(1, answers(200))
    poll(live, LastChecked())
    assert compared == []


def hold(live: Live, seconds: float) -> None:
    with live.database.write() as connection:
        model = models.get(connection, live.model_id)
        run_id = versions.get(connection, live.model_id, 2)["run_id"]
        holds.begin(connection, model, 1, seconds=seconds, run_id=run_id)


def champion(live: Live) -> Any:
    with live.database.read() as connection:
        return promotions.champion(connection, live.model_id)


def test_a_hold_ends_when_its_time_is_over_and_no_label_came(live, compared):
    hold(live, seconds=3600.0)
    assert holds.held_until(champion(live)) is not None
    poll(live, LastChecked())
    assert champion(live).to_version == 1
    hold(live, seconds=-1.0)
    poll(live, LastChecked())
    assert (champion(live).to_version, champion(live).kind) == (2, "switch")
    assert "no label came" in champion(live).reason
    assert compared == []


def test_a_hold_that_another_promotion_ended_is_not_ended_again(live, compared):
    hold(live, seconds=-1.0)
    held = champion(live)
    live.add_version()
    with live.database.write() as connection:
        models.lock(connection, live.model_id)
        model = models.get(connection, live.model_id)
        holds.end(connection, model, held, reason="too late")
    assert (champion(live).to_version, champion(live).kind) == (3, "promote")
