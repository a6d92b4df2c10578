"""Who answers, who learns and who is proved, in the documents of models, runs and promotions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from live_rows import Live, compared

from acclimate.storage.database import Database
from acclimate.storage.registry import deletion, models, promotions, versions
from service.control import documents, runs
from service.control import models as model_documents
from service.control import versions as version_documents
from service.control.pages import Page
from service.errors import Refusal

BEHIND = {**compared(0.2), "serves": "proved", "reason": "the learner fell behind"}


@pytest.fixture
def live(database: Database, tmp_path: Path) -> Live:
    return Live(database, tmp_path)


def model(live: Live) -> dict[str, Any]:
    return model_documents.document(live.database, "gas")


def prove(live: Live, version: int) -> None:
    with live.database.write() as connection:
        versions.set_proved(connection, live.model_id, version, {"gains": 9})


def test_a_model_names_learner_and_proved_version_apart_from_the_champion(live):
    names = ("champion", "previous", "learner", "proved", "anchor")
    assert [model(live)[name] for name in names] == ["1", None, "1", "1", "1"]
    live.add_version()
    assert [model(live)[name] for name in names] == ["2", "1", "2", "1", "1"]
    live.switch(1, BEHIND, "r")
    assert [model(live)[name] for name in names] == ["1", "2", "2", "1", "1"]


def test_divergence_is_that_of_the_newest_run_that_compared_versions(live):
    assert model(live)["divergence"] is None
    live.add_version()
    live.compare(compared(0.3))
    live.compare(compared(0.2))
    live.compare({**compared(0.0), "divergence": None})
    found = {"value": 0.2, "lower": 0.0, "upper": 0.25, "n": 500}
    assert model(live)["divergence"] == found


def test_the_proved_version_diverges_on_no_row_while_it_answers(live):
    live.add_version()
    live.compare(compared(0.2))
    live.switch(1, BEHIND, "r")
    assert model(live)["divergence"] == {"value": 0.0, "lower": 0.0, "upper": 0.0, "n": 500}


def test_no_divergence_from_a_version_that_is_not_the_proved_one_any_more(live):
    live.add_version()
    live.add_version()
    live.compare(compared(0.2, version=3))
    prove(live, 2)
    assert model(live)["divergence"] is None
    live.compare(compared(0.1, version=3, proved=2))
    assert model(live)["divergence"]["value"] == 0.1


def test_a_run_tells_what_it_kept_of_who_serves(live):
    run_id = live.compare(compared(0.2, version=4))
    told = documents.run(runs.get(live.database, run_id))["serving"]
    assert told == {**compared(0.2), "compared": "4", "proved": "1"}
    with live.database.read() as connection:
        champion = promotions.champion(connection, live.model_id)
    first = documents.run(runs.get(live.database, champion.run_id))
    assert first["serving"] is None


def test_a_switch_tells_the_comparison_that_it_follows_from_and_no_other_promotion_does(live):
    live.add_version()
    live.switch(1, BEHIND, "the learner fell behind")
    page = Page(after=0, size=50)
    told = version_documents.list_promotions(live.database, "gas", page)["items"]
    assert [entry["kind"] for entry in told] == ["first", "promote", "switch"]
    assert [entry["comparison"] for entry in told[:2]] == [None, None]
    assert told[2]["comparison"] == {**BEHIND, "compared": "2", "proved": "1"}
    assert told[2]["actor"] == "watch"


def test_the_aliases_learner_and_proved_name_versions_that_are_not_deleted(live):
    for _ in range(4):
        live.add_version()
    prove(live, 2)
    live.switch(2, BEHIND, "r")
    live.switch(3, BEHIND, "r")
    live.switch(4, BEHIND, "r")
    named = {"champion": "4", "previous": "3", "learner": "5", "proved": "2", "anchor": "1"}
    for alias, version in named.items():
        assert version_documents.alias(live.database, "gas", alias) == (version, 8)
        found = version_documents.document(live.database, "gas", alias)
        assert (found["version"], found["aliases"]) == (version, [alias])
        with live.database.write() as connection:
            row = models.named(connection, "gas")
            with pytest.raises(deletion.VersionAliased, match=alias):
                deletion.delete_version(connection, row, int(version), actor="anna")
    with pytest.raises(Refusal):
        version_documents.alias(live.database, "gas", "challenger")
