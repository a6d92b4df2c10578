"""Watches over new champions: rolls one back that answers worse than its gates expected."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from acclimate.learning.evaluation import rollback_monitor
from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.storage.database import Database, clock
from acclimate.storage.log import barrier, catalog, windows
from acclimate.storage.log.segments import Segments
from acclimate.storage.registry import models, promotions, revisions, versions, watches
from acclimate.storage.registry.models import UnknownModel
from workers.live_answers import SEAL_GROWTH, LastChecked, behaviour, segment_ids

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row, RowMapping

log = structlog.get_logger()

WATCHED = ("promote", "override")
"""The kinds of promotion that are watched; a rollback is not."""
SEAL_ROWS = 50
"""A watch requests a seal when so many rows wait in the journals, or as many as it still needs."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A promotion with an open watch, and the segments that may hold its answers.

    With `seal`, more of its rows are to be sealed.
    """

    model: RowMapping
    promotion: Row[Any]
    expected: Behaviour
    lines: list[RowMapping]
    seal: bool


def poll(database: Database, segments: Segments, seen: LastChecked) -> None:
    """Begin, continue or end the watch of every model.

    Reads only the database unless rows were sealed since, and waits for no replica.
    """
    with database.read() as connection:
        known = models.list_all(connection)
        changed = [model for model in known if _changed(connection, model)]
    for model in changed:
        with suppress(UnknownModel), database.write() as connection:  # deleted since
            _begin(connection, model)
    with database.read() as connection:
        watched = [found for model in known if (found := open_watch(connection, model)) is not None]
    for found in watched:
        with suppress(UnknownModel):
            _poll_watch(database, segments, seen, found)


def _poll_watch(database: Database, segments: Segments, seen: LastChecked, found: Watched) -> None:
    """Request a seal if one is due, and judge the answers if there are new ones."""
    model_id = found.model["id"]
    if found.seal:
        with database.write() as connection:
            barrier.request_seal(connection, model_id)
    state = (found.promotion.epoch, segment_ids(found.lines))
    if not seen.unchanged(("watch", model_id), state):
        conclude(database, segments, found)
        seen.note(("watch", model_id), state)


def _changed(connection: Connection, model: RowMapping) -> bool:
    """Whether a promotion has no watch yet, or ends an older promotion's watch."""
    newest = promotions.champion(connection, model["id"])
    if newest is None:
        return False
    unbegun = newest.kind in WATCHED and newest.watch is None
    return unbegun or watches.any_open(connection, model["id"], before=newest.epoch)


def _begin(connection: Connection, model: RowMapping) -> None:
    """Open the watch over the newest promotion, if it is to be watched."""
    models.lock(connection, model["id"])
    newest = promotions.champion(connection, model["id"])
    if newest is None:
        return
    watches.supersede(connection, model["id"], newest.epoch)
    if newest.kind not in WATCHED or newest.watch is not None:
        return
    _, policy = revisions.policy(connection, model["id"])
    waived = _waived(connection, model, newest, policy.watch_rows)
    begun = {
        "state": "waived" if waived else "watching",
        "rows": 0,
        "needed": policy.watch_rows,
        "found": None,
        "detail": waived,
        "window": windows.open_window(connection, model["id"])["number"],
        "at": clock(connection),
    }
    watches.note(connection, model["id"], newest.epoch, begun)


def _waived(
    connection: Connection, model: RowMapping, promotion: Row[Any], needed: int
) -> str | None:
    """Why the promotion is not watched, as a sentence; None where it is."""
    if needed == 0:
        return "the policy says watch_rows = 0"
    if watches.served_before(connection, model["id"], promotion.to_version, promotion.epoch):
        return f"version {promotion.to_version} has been champion before: its answers are known"
    if _expected(versions.get(connection, model["id"], promotion.to_version)) is None:
        return f"version {promotion.to_version} has no expected answers"
    return None


def _expected(version: RowMapping) -> Behaviour | None:
    """How the gates expected the version to answer: as the student did, if it passed them.

    A version that failed its gates is compared with the champion before it.
    """
    known = version["expected"] or {}
    passed = all(gate["verdict"] == "pass" for gate in version["gates"] if gate["binds"])
    answers = known.get("student" if passed else "champion")
    return Behaviour.from_json(answers) if answers is not None else None


def open_watch(connection: Connection, model: RowMapping) -> Watched | None:
    """The model's newest promotion, if its watch is open."""
    newest = promotions.champion(connection, model["id"])
    if newest is None or newest.watch is None or newest.watch["state"] != "watching":
        return None
    expected = _expected(versions.get(connection, model["id"], newest.to_version))
    assert expected is not None
    rows = newest.watch["rows"]
    wanted = min(newest.watch["needed"] - rows, max(SEAL_ROWS, SEAL_GROWTH * rows))
    return Watched(
        model=model,
        promotion=newest,
        expected=expected,
        # Selected by window, not by time: clocks of replicas differ and may be set. A watch that
        # an earlier release began has no window.
        lines=catalog.segments_since_window(connection, model["id"], newest.watch.get("window", 1)),
        seal=barrier.seal_is_due(connection, model["id"], wanted),
    )


def conclude(database: Database, segments: Segments, watched: Watched) -> None:
    """Write the findings of the watch, and roll back where the answers are worse.

    Does nothing where another promotion came meanwhile.
    """
    promotion, model = watched.promotion, watched.model
    needed = promotion.watch["needed"]
    live = behaviour(segments, watched.lines, version=promotion.to_version, most=needed)
    finding = rollback_monitor.judge(watched.expected, live, needed=needed)
    with database.write() as connection:
        models.lock(connection, model["id"])
        if not watches.is_watching(connection, model["id"], promotion.epoch):
            return
        found = promotion.watch | {
            "state": finding.state,
            "rows": live.rows if live else 0,
            "found": live.as_json() if live else None,
            "detail": finding.reason,
            "at": clock(connection),
        }
        watches.note(connection, model["id"], promotion.epoch, found)
        if finding.reason is not None:
            watches.roll_back(connection, model, promotion, finding.reason)
    if finding.state != "watching":
        outcome = {"state": finding.state, "why": finding.reason}
        log.info("watch ended", model=model["name"], version=promotion.to_version, **outcome)
