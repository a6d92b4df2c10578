"""The three lamps: healthy, learning, safe. Computed here once, shown alike by everybody."""

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
from service.control import documents

if TYPE_CHECKING:
    from sqlalchemy import Connection

ORDER = ("ok", "unknown", "warn", "bad")
NEGLECTED = {
    "trigger": "looked for due runs and for promotions to take back",
    "reconcile": "looked for lost runs and outdated rows",
}
Lamp = dict[str, Any]
Neglected = dict[str, float | None]


def status_of(connection: Connection) -> dict[str, Any]:
    """Every model's lamps, and above them the worst of each."""
    neglected = periodic_tasks.overdue(connection)
    found = [_model(connection, row, neglected) for row in models.list_all(connection)]
    lamps = {
        name: _worst([model[name] for model in found]) for name in ("healthy", "learning", "safe")
    }
    return {**lamps, "models": found}


def without_database() -> dict[str, Any]:
    """What can be said while the database does not answer: serving goes on with what is loaded, the
    rest is not known.
    """
    reason = (
        "the database does not answer; loaded versions keep serving, keys seen before go "
        "on for 15 minutes"
    )
    unknown = _lamp("unknown", ["the database does not answer"])
    return {"healthy": _lamp("warn", [reason]), "learning": unknown, "safe": unknown, "models": []}


def _model(connection: Connection, row: Any, neglected: Neglected) -> dict[str, Any]:
    champion = promotions.champion(connection, row["id"])
    live = replicas.list_live(connection, row["id"])
    active = runs.active(connection, row["id"])
    recent = runs.page(connection, model_id=row["id"], size=3)
    return {
        "name": row["name"],
        "healthy": _healthy(champion, live),
        "learning": _worst(
            [_learning(connection, row, champion, active, recent), _hands(neglected)]
        ),
        "safe": _safe(row, champion, windows.newest_closed(connection, row["id"]), neglected),
        "champion": documents.text(champion.to_version) if champion else None,
        "active_run": active["id"] if active else None,
    }


def _healthy(champion: Any, replicas: list[Any]) -> Lamp:
    if not replicas:
        return _lamp("bad", ["no replica gives a sign of life"])
    if champion is None:
        return _lamp("unknown", ["version 1 is not there yet"])
    reasons = [f"{row['replica']}: {row['problem']}" for row in replicas if row["problem"]]
    behind = [row["replica"] for row in replicas if (row["epoch"] or 0) < champion.epoch]
    if behind:
        reasons.append(f"not yet on version {champion.to_version}: {', '.join(behind)}")
    return _lamp("warn" if reasons else "ok", reasons)


def _learning(
    connection: Connection, row: Any, champion: Any, active: Any, recent: list[Any]
) -> Lamp:
    """What learning does now, in words; not ok while it is paused, and after a run that failed
    until another one ends.
    """
    ended = next((run for run in recent if run["ended_at"] is not None), None)
    since = ended["ended_at"] if ended else None
    now = [f"run {active['id']} is {active['state']}: {active['stage']}"] if active else []
    if row["learning"] == "paused":
        return _lamp("warn", [f"paused: {row['learning_reason'] or 'no reason given'}", *now])
    if ended and ended["state"] == "failed":
        return _lamp("bad", [f"run {ended['id']} failed: {ended['detail']}", *now], since)
    if now:
        return _lamp("ok", now, active["created_at"])
    last = (
        [f"run {ended['id']} was {ended['state']}: {ended['detail']}"]
        if ended and ended["detail"]
        else []
    )
    return _lamp("ok", last + _waiting(connection, row, champion), since)


def _waiting(connection: Connection, row: Any, champion: Any) -> list[str]:
    """What learning waits for, once there is a version that could teach."""
    if champion is None:
        return []
    _, policy = revisions.policy(connection, row["id"])
    if policy.learnable == "no":
        return ['the policy says learnable = "no": this model is served and watched only']
    rows = windows.open_rows(connection, row["id"])
    if rows < policy.min_window_rows:
        return [
            f"nothing new to learn from: {rows} rows in the open window, a run needs "
            f"{policy.min_window_rows}"
        ]
    return [f"{rows} rows wait in the open window"]


def _hands(neglected: Neglected) -> Lamp:
    """Whether anybody looks at what is due: with beat or every worker gone, answers go on and
    nothing else happens.
    """
    reasons = []
    for task, seconds in neglected.items():
        since = "since the start" if seconds is None else f"for {seconds:.0f} s"
        reasons.append(f"nobody has {NEGLECTED[task]} {since}: beat or every worker is missing")
    return _lamp("bad" if reasons else "ok", reasons)


def _safe(row: Any, champion: Any, window: Any, neglected: Neglected) -> Lamp:
    """Whether what was learnt is trusted.

    Not ok while the newest closed window is quarantined (a later good one is the evidence that
    clears it), and after a watch took a promotion back, until somebody lets learning go on or
    another version is promoted.
    """
    lamps = [_watch(row, champion, neglected)] if champion else []
    if window is not None and window["state"] == "quarantined":
        kind = (window["drift"] or {}).get("kind", "by an operator")
        reason = f"window {documents.window_id(window['number'])} is quarantined: {kind}"
        lamps.append(_lamp("warn", [reason], window["closed_at"]))
    return _worst(lamps) if lamps else _lamp("ok", [])


def _watch(row: Any, champion: Any, neglected: Neglected) -> Lamp:
    """What the watch says of the champion, and whether the champion is there because a watch went
    back to it.
    """
    if champion.actor == watches.ACTOR and row["learning"] == "paused":
        return _lamp(
            "warn",
            [f"rolled back to version {champion.to_version}: {champion.reason}"],
            champion.at,
        )
    found = champion.watch
    if found is not None and found["state"] == "worse":
        return _lamp(
            "bad",
            [f"version {champion.to_version} is worse and still serves: {found['detail']}"],
            champion.at,
        )
    if found is not None and found["state"] == "watching":
        seen = (
            f"version {champion.to_version} is being watched: {found['rows']} of "
            f"{found['needed']} rows"
        )
        alone = ["nobody looks at it"] if "trigger" in neglected else []
        return _lamp("warn" if alone else "ok", [seen, *alone], champion.at)
    return _lamp("ok", [])


def _lamp(state: str, reasons: list[str], since: float | None = None) -> Lamp:
    return {"state": state, "since": documents.time(since), "reasons": reasons}


def _worst(lamps: list[Lamp]) -> Lamp:
    if not lamps:
        return _lamp("unknown", ["there is no model yet"])
    worst = max(lamps, key=lambda lamp: ORDER.index(lamp["state"]))
    return {**worst, "reasons": [reason for lamp in lamps for reason in lamp["reasons"]]}
