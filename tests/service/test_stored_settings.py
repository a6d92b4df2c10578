"""Settings that another release stored: read, changed, and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from live_rows import Live

from acclimate.spec import SpecError
from acclimate.storage.database import Database
from acclimate.storage.registry import revisions
from service.control import models


@pytest.fixture
def live(database: Database, tmp_path: Path) -> Live:
    return Live(database, tmp_path)


def put(live: Live, change: dict[str, Any], expected: int) -> dict[str, Any]:
    told = {"expected": expected, "actor": "anna"}
    return models.revise_settings(live.database, "gas", "policy", change, **told)[1]


def test_a_change_keeps_what_a_newer_release_stored(live):
    live.policy(of_a_newer_release="12h")
    written = put(live, {"max_unproved": 0.1}, expected=2)
    assert (written["max_unproved"], written["of_a_newer_release"]) == (0.1, "12h")
    with live.database.read() as connection:
        assert revisions.policy(connection, live.model_id)[1].max_unproved == 0.1


def test_what_a_newer_release_stored_may_be_sent_back_and_not_changed(live):
    live.policy(of_a_newer_release="12h")
    assert put(live, {"of_a_newer_release": "12h"}, expected=2)["of_a_newer_release"] == "12h"
    with pytest.raises(SpecError, match="unknown key 'of_a_newer_release'"):
        put(live, {"of_a_newer_release": "13h"}, expected=3)
