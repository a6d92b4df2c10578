"""Computes the three health states: healthy, learning, safe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acclimate.storage.log import windows
from acclimate.storage.registry import (
    models,
    periodic_tasks,
    promotions,
    replicas,
    revisions,
    watches,
)
from acclimate.storage.runs import runs
from service.control import divergence, documents

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

ORDER = ("ok", "unknown", "warn", "bad")
CHECKED_BY = {
    "trigger": "due runs and watched promotions",
    "reconcile": "lost runs and expired rows",
}
"""What each periodic task checks."""
Health = dict[str, Any]
"""`state`, `since` and `reasons`."""
Overdue = dict[str, float | None]
"""Seconds since each overdue periodic task was done; None for one that was never done."""


def status_of(connection: Connection) -> dict[str, Any]:
    """The health states of every model, and the worst of each over all models."""
    overdue = periodic_tasks.overdue(connection)
    found = [_model(connection, row, overdue) for row in models.list_all(connection)]
    worst = {
        name: _worst([model[name] for model in found]) for name in ("healthy", "learning", "safe")
    }
    return {**worst, "models": found}


def without_database() -> dict[str, Any]:
    """The health states while the database does not answer."""
    reason = (
        "the database does not answer; loaded versions keep serving, known keys stay valid "
        "for 15 minutes"
    )
    unknown = _health("unknown", ["the database does not answer"])
    return {
        "healthy": _health("warn", [reason]),
        "learning": unknown,
        "safe": unknown,
        "models": [],
    }


def _model(connection: Connection, row: Any, overdue: Overdue) -> dict[str, Any]:
    champion = promotions.champion(connection, row["id"])
    live = replicas.list_live(connection, row["id"])
    active = runs.active(connection, row["id"])
    recent = runs.page(connection, model_id=row["id"], size=3)
    safe = _safe(row, champion, windows.newest_closed(connection, row["id"]), overdue)
    return {
        "name": row["name"],
        "healthy": _healthy(champion, live),
        "learning": _worst(
            [_learning(connection, row, champion, active, recent), _periodic_tasks(overdue)]
        ),
        "safe": _worst([safe, _serving(connection, row["id"], champion)]),
        "champion": documents.text(champion.to_version) if champion else None,
        "active_run": active["id"] if active else None,
    }


def _healthy(champion: Any, replicas: list[Any]) -> Health:
    if not replicas:
        return _health("bad", ["no replica sends heartbeats"])
    if champion is None:
        return _health("unknown", ["there is no version yet"])
    reasons = [f"{row['replica']}: {row['problem']}" for row in replicas if row["problem"]]
    behind = [row["replica"] for row in replicas if (row["epoch"] or 0) < champion.epoch]
    if behind:
        reasons.append(f"not yet serving version {champion.to_version}: {', '.join(behind)}")
    return _health("warn" if reasons else "ok", reasons)


def _learning(
    connection: Connection, row: RowMapping, champion: Any, active: Any, recent: list[Any]
) -> Health:
    """The health of learning: warn while it is paused, bad after a failed run until another run
    ends.
    """
    ended = next((run for run in recent if run["ended_at"] is not None), None)
    since = ended["ended_at"] if ended else None
    now = [f"run {active['id']} is {active['state']}: {active['stage']}"] if active else []
    if row["learning"] == "paused":
        return _health("warn", [f"paused: {row['learning_reason'] or 'no reason given'}", *now])
    if ended and ended["state"] == "failed":
        return _health("bad", [f"run {ended['id']} failed: {ended['detail']}", *now], since)
    if now:
        return _health("ok", now, active["created_at"])
    last = (
        [f"run {ended['id']} was {ended['state']}: {ended['detail']}"]
        if ended and ended["detail"]
        else []
    )
    return _health("ok", last + _waiting(connection, row, champion), since)


def _waiting(connection: Connection, row: RowMapping, champion: Any) -> list[str]:
    """What learning waits for; nothing before version 1."""
    if champion is None:
        return []
    _, policy = revisions.policy(connection, row["id"])
    if policy.learnable == "no":
        return [
            'the policy has learnable = "no": the model is served and monitored, it does not learn'
        ]
    rows = windows.open_rows(connection, row["id"])
    if rows < policy.min_window_rows:
        return [
            f"nothing new to learn from: {rows} rows in the open window, a run needs "
            f"{policy.min_window_rows}"
        ]
    return [f"{rows} rows wait in the open window"]


def _periodic_tasks(overdue: Overdue) -> Health:
    """The health of the periodic tasks: bad while one is overdue. Serving does not need them."""
    reasons = []
    for task, seconds in overdue.items():
        since = "since the start" if seconds is None else f"for {seconds:.0f} s"
        what = f"{CHECKED_BY[task]} were not checked {since}"
        reasons.append(f"{what}: beat or every worker is not running")
    return _health("bad" if reasons else "ok", reasons)


def _safe(row: Any, champion: Any, window: Any, overdue: Overdue) -> Health:
    """The health of what was learnt.

    Not ok while the newest closed window is quarantined, until it is released or a later window is
    good; and after an automatic rollback, until learning is resumed or another version is promoted.
    """
    states = [_watch(row, champion, overdue)] if champion else []
    if window is not None and window["state"] == "quarantined":
        kind = (window["drift"] or {}).get("kind", "by an operator")
        reason = f"window {documents.window_id(window['number'])} is quarantined: {kind}"
        states.append(_health("warn", [reason], window["closed_at"]))
    return _worst(states) if states else _health("ok", [])


def _watch(row: Any, champion: Any, overdue: Overdue) -> Health:
    """The health of the champion: its watch, or the automatic rollback that it came from."""
    automatic = champion.actor == watches.ACTOR and champion.kind == "rollback"
    if automatic and row["learning"] == "paused":
        return _health(
            "warn",
            [f"rolled back to version {champion.to_version}: {champion.reason}"],
            champion.at,
        )
    found = champion.watch
    if found is not None and found["state"] == "worse":
        return _health(
            "bad",
            [f"version {champion.to_version} is worse and still served: {found['detail']}"],
            champion.at,
        )
    if found is not None and found["state"] == "watching":
        progress = (
            f"version {champion.to_version} is being watched: {found['rows']} of "
            f"{found['needed']} rows"
        )
        stopped = ["the watch does not run"] if "trigger" in overdue else []
        return _health("warn" if stopped else "ok", [progress, *stopped], champion.at)
    return _health("ok", [])


def _serving(connection: Connection, model_id: str, champion: Any) -> Health:
    """Which version answers and how far it is from the proved one, in words; always ok."""
    if champion is None:
        return _health("ok", [])
    named = promotions.aliases(connection, model_id)
    if named["champion"] != named["learner"]:
        reason = (
            f"version {named['champion']} answers; learning goes on from version "
            f"{named['learner']}: {champion.reason}"
        )
        return _health("ok", [reason])
    found = divergence.of_model(connection, model_id, named)
    if found is None or named["champion"] == named["proved"]:
        return _health("ok", [])
    return _health("ok", [divergence.in_words(found, named)])


def _health(state: str, reasons: list[str], since: float | None = None) -> Health:
    return {"state": state, "since": documents.time(since), "reasons": reasons}


def _worst(states: list[Health]) -> Health:
    """The worst of the states, with the reasons of all."""
    if not states:
        return _health("unknown", ["there is no model yet"])
    worst = max(states, key=lambda health: ORDER.index(health["state"]))
    return {**worst, "reasons": [reason for health in states for reason in health["reasons"]]}
