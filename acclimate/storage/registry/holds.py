"""Holds: a promoted student does not answer until labels came or a time is over.

A hold is a switch back to the version that answered before, with `held_until`, unix seconds, in its
comparison. It ends with the next promotion of any kind. Every function works inside the caller's
transaction.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, RowMapping

from acclimate.storage.database import clock
from acclimate.storage.registry import audit_log, promotions
from acclimate.storage.registry.watches import ACTOR


def begin(
    connection: Connection, model: RowMapping, version: int, *, seconds: float, run_id: str
) -> None:
    """This version goes on answering for so many seconds at most. Call under `models.lock`."""
    until = clock(connection) + seconds
    told = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    promotions.switch(
        connection,
        model["id"],
        version,
        actor=ACTOR,
        reason=f"the new version waits for labels until {told}",
        run_id=run_id,
        comparison={"held_until": until},
    )


def held_until(promotion: Row[Any] | None) -> float | None:
    """Until when the learner waits, unix seconds; None where this promotion holds nothing."""
    if promotion is None or promotion.comparison is None:
        return None
    until: float | None = promotion.comparison.get("held_until")
    return until


def end(connection: Connection, model: RowMapping, held: Row[Any], *, reason: str) -> None:
    """The learner answers, unless another promotion came meanwhile. Call under `models.lock`."""
    champion = promotions.champion(connection, model["id"])
    learner = promotions.learner(connection, model["id"])
    if champion is None or learner is None or champion.epoch != held.epoch:
        return
    promotions.switch(
        connection,
        model["id"],
        learner,
        actor=ACTOR,
        reason=reason,
        run_id=None,
        comparison={"held": held.epoch},
    )
    audit_log.write(
        connection,
        actor=ACTOR,
        action="version.switch",
        target=model["name"],
        content={"version": learner, "from": champion.to_version},
    )
