"""The three lamps: healthy, learning, safe. Computed here once, shown alike by everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acclimate.storage import catalog, registry, runs
from service import documents

if TYPE_CHECKING:
    from sqlalchemy import Connection

ORDER = ("ok", "unknown", "warn", "bad")
Lamp = dict[str, Any]


def status_of(connection: Connection) -> dict[str, Any]:
    """Every model's lamps, and above them the worst of each."""
    models = [_model(connection, row) for row in registry.all_models(connection)]
    lamps = {name: _worst([model[name] for model in models]) for name in ("healthy", "learning", "safe")}
    return {**lamps, "models": models}


def without_database() -> dict[str, Any]:
    """What can be said while the database does not answer: serving goes on with what is loaded, the rest is not known."""
    reason = "the database does not answer; loaded versions keep serving, keys seen before go on for 15 minutes"
    unknown = _lamp("unknown", ["the database does not answer"])
    return {"healthy": _lamp("warn", [reason]), "learning": unknown, "safe": unknown, "models": []}


def _model(connection: Connection, row: Any) -> dict[str, Any]:
    champion = registry.champion(connection, row["id"])
    replicas = catalog.live_replicas(connection, row["id"])
    active = runs.active(connection, row["id"])
    recent = runs.page(connection, model_id=row["id"], size=3)
    windows = catalog.all_windows(connection, row["id"])
    return {
        "name": row["name"],
        "healthy": _healthy(champion, replicas),
        "learning": _learning(row, recent),
        "safe": _safe(windows),
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


def _learning(row: Any, recent: list[Any]) -> Lamp:
    if row["learning"] == "paused":
        return _lamp("warn", [f"paused: {row['learning_reason'] or 'no reason given'}"], since=None)
    ended = [run for run in recent if run["ended_at"] is not None]
    if ended and ended[0]["state"] == "failed":
        return _lamp("bad", [f"run {ended[0]['id']} failed: {ended[0]['detail']}"], since=ended[0]["ended_at"])
    return _lamp("ok", [], since=ended[0]["ended_at"] if ended else None)


def _safe(windows: list[Any]) -> Lamp:
    """Not ok while the newest closed window is quarantined: a later good window is the evidence that clears it."""
    closed = [window for window in windows if window["state"] != "open"]
    if closed and closed[-1]["state"] == "quarantined":
        drift = closed[-1]["drift"] or {}
        reason = (
            f"window {documents.window_id(closed[-1]['number'])} is quarantined: {drift.get('kind', 'by an operator')}"
        )
        return _lamp("warn", [reason], since=closed[-1]["closed_at"])
    return _lamp("ok", [])


def _lamp(state: str, reasons: list[str], since: float | None = None) -> Lamp:
    return {"state": state, "since": documents.time(since), "reasons": reasons}


def _worst(lamps: list[Lamp]) -> Lamp:
    if not lamps:
        return _lamp("unknown", ["there is no model yet"])
    worst = max(lamps, key=lambda lamp: ORDER.index(lamp["state"]))
    return {**worst, "reasons": [reason for lamp in lamps for reason in lamp["reasons"]]}
