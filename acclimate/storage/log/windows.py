"""Windows of a model's log: numbered from 1, closed in order, the newest one open.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, func, insert, select, update

from acclimate.learning.data import LOOKED_ANEW, Json, Past
from acclimate.learning.results import ALARMS
from acclimate.storage.database import now
from acclimate.storage.registry import replicas
from acclimate.storage.registry.models import ModelDeleted
from acclimate.storage.tables import runs, segments, windows


class NotEnoughRows(Exception):
    """The open window has fewer rows than a run needs; they stay in it."""

    def __init__(self, rows: int, needed: int) -> None:
        super().__init__(f"the open window has {rows} rows, a run needs {needed}")
        self.rows = rows
        self.needed = needed


class UnknownWindow(LookupError):
    """The model has no such window."""


class WindowOpen(Exception):
    """The window is open: only closed ones can be learnt from, quarantined or released."""


class WindowQuarantined(Exception):
    """The window is quarantined: it is not learnt from until an operator releases it."""


def close(connection: Connection, model_id: str, *, closed_by: str, needed: int) -> RowMapping:
    """Close the open window over the segments registered so far, and open the next one.

    Returns the closed window. Raises `NotEnoughRows`. Call under `models.lock`.
    """
    query = select(segments.c.id, segments.c.digest, segments.c.rows).where(
        in_open_window(model_id)
    )
    found = connection.execute(query.order_by(segments.c.id)).all()
    rows = sum(segment.rows for segment in found)
    if rows < needed:
        raise NotEnoughRows(rows, needed)
    number = int(open_window(connection, model_id)["number"])
    connection.execute(update(segments).where(in_open_window(model_id)).values(window=number))
    digest = digest_of([segment.digest for segment in found])
    closed = {
        "state": "closed",
        "closed_by": closed_by,
        "closed_at": now(),
        "rows": rows,
        "digest": digest,
    }
    _update(connection, model_id, number, closed)
    next_window = insert(windows).values(model_id=model_id, number=number + 1, state="open")
    connection.execute(next_window)
    return get(connection, model_id, number)


def digest_of(digests: Iterable[str]) -> str:
    """One digest over many, in their order."""
    return "sha256:" + hashlib.sha256("".join(digests).encode()).hexdigest()


def open_rows(connection: Connection, model_id: str) -> int:
    """Rows of the open window: in segments, and in the journals of live replicas."""
    query = select(func.coalesce(func.sum(segments.c.rows), 0)).where(in_open_window(model_id))
    sealed = int(connection.execute(query).scalar_one())
    live = replicas.list_live(connection, model_id)
    return sealed + sum(replica["open_rows"] or 0 for replica in live)


def list_all(connection: Connection, model_id: str) -> list[RowMapping]:
    """All windows, oldest first, the open one last."""
    query = select(windows).where(windows.c.model_id == model_id).order_by(windows.c.number)
    return list(connection.execute(query).mappings())


def newest_closed(connection: Connection, model_id: str) -> RowMapping | None:
    """The newest window that is not open, if any."""
    query = (
        select(windows)
        .where(windows.c.model_id == model_id)
        .where(windows.c.state != "open")
        .order_by(windows.c.number.desc())
        .limit(1)
    )
    return connection.execute(query).mappings().first()


def alarms(connection: Connection) -> dict[str, str]:
    """The kind of the drift for which a model's newest closed window is quarantined, by the model's
    id; without models where none is.
    """
    newest, following = windows, windows.alias()
    of_model = following.c.model_id == newest.c.model_id
    closed_last = newest.c.number == following.c.number - 1
    query = select(newest.c.model_id, newest.c.drift).where(
        following.c.state == "open", of_model, closed_last, newest.c.state == "quarantined"
    )
    kinds = {row.model_id: (row.drift or {}).get("kind") for row in connection.execute(query)}
    return {model_id: kind for model_id, kind in kinds.items() if kind in ALARMS}


def open_window(connection: Connection, model_id: str) -> RowMapping:
    """The open window. Raises `ModelDeleted`."""
    query = select(windows).where(windows.c.model_id == model_id, windows.c.state == "open")
    row = connection.execute(query).mappings().first()
    if row is None:
        raise ModelDeleted(model_id)
    return row


def get(connection: Connection, model_id: str, number: int) -> RowMapping:
    """One window. Raises `UnknownWindow`."""
    query = select(windows).where(windows.c.model_id == model_id, windows.c.number == number)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise UnknownWindow(f"there is no window w-{number}")
    return row


def closed_window(connection: Connection, model_id: str, number: int) -> RowMapping:
    """One window that may be learnt from again.

    Raises `UnknownWindow`, `WindowOpen`, `WindowQuarantined`.
    """
    window = get(connection, model_id, number)
    if window["state"] == "open":
        raise WindowOpen(f"window w-{window['number']} is still open")
    if window["state"] == "quarantined":
        raise WindowQuarantined(f"window w-{window['number']} is quarantined: release it first")
    return window


def runs_by_window(connection: Connection, model_id: str) -> dict[int, list[str]]:
    """The ids of the runs over each window, oldest first."""
    found: dict[int, list[str]] = {}
    query = select(runs.c.id, runs.c.windows).where(runs.c.model_id == model_id)
    for run_id, numbers in connection.execute(query.order_by(runs.c.id)):
        for number in numbers:
            found.setdefault(number, []).append(run_id)
    return found


def set_state(connection: Connection, model_id: str, number: int, state: str) -> RowMapping:
    """Quarantine or release a closed window. Raises `UnknownWindow`, `WindowOpen`."""
    if get(connection, model_id, number)["state"] == "open":
        raise WindowOpen(f"window w-{number} is still open")
    _update(connection, model_id, number, {"state": state})
    return get(connection, model_id, number)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a run found in a window; a field that is None leaves its column as it is."""

    drift: Json | None = None
    estimate: Json | None = None
    rows_pseudo_labelled: int | None = None
    rows_refused: int | None = None
    state: str | None = None


def note(connection: Connection, model_id: str, number: int, found: Findings) -> None:
    """Write what a run found in the window."""
    values = {name: value for name, value in asdict(found).items() if value is not None}
    _update(connection, model_id, number, values)


def past(connection: Connection, model_id: str, *, before: int) -> Past | None:
    """The effects seen in the newest diagnosed window that is not quarantined; None without one.

    Where the newest `LOOKED_ANEW` windows are all quarantined, those of the newest: what goes on is
    looked at anew.

    Only windows older than `before` count: a window that is learnt from again is not compared with
    itself.
    """
    query = (
        select(windows.c.drift, windows.c.state)
        .where(windows.c.model_id == model_id)
        .where(windows.c.number < before)
        .order_by(windows.c.number.desc())
    )
    diagnosed = [row for row in connection.execute(query) if row.drift is not None]
    newest = [row.state for row in diagnosed[:LOOKED_ANEW]]
    if newest == ["quarantined"] * LOOKED_ANEW:
        return Past.of(diagnosed[0].drift, anew=True)
    standing = bool(diagnosed) and diagnosed[0].state == "quarantined"
    for row in diagnosed:
        if row.state in ("closed", "released"):
            return Past.of(row.drift, standing=standing)
    return None


def recount(
    connection: Connection, model_id: str, number: int | None, *, labelled_lost: int
) -> None:
    """Set rows and digest of a window from its segments; `labelled_lost` rows with labels are gone.

    `number` is None for the open window, whose rows are not stored. Call under `models.lock`.
    """
    here = windows.c.state == "open" if number is None else windows.c.number == number
    of_window = update(windows).where(windows.c.model_id == model_id, here)
    labelled = windows.c.rows_labelled - labelled_lost
    connection.execute(of_window.values(rows_labelled=labelled))
    if number is None:
        return
    standing = (
        segments.c.model_id == model_id,
        segments.c.window == number,
        segments.c.rows > 0,
    )
    query = select(segments.c.digest, segments.c.rows).where(*standing).order_by(segments.c.id)
    found = connection.execute(query).all()
    rows = sum(row.rows for row in found)
    digest = digest_of([row.digest for row in found])
    connection.execute(of_window.values(rows=rows, digest=digest))


def in_open_window(model_id: str) -> ColumnElement[bool]:
    """The condition on `segments` that a segment is stored and in the model's open window."""
    return (
        (segments.c.model_id == model_id)
        & segments.c.window.is_(None)
        & segments.c.deleted_at.is_(None)
    )


def _update(connection: Connection, model_id: str, number: int, values: Mapping[str, Any]) -> None:
    """Write columns of one window."""
    of_window = update(windows).where(windows.c.model_id == model_id, windows.c.number == number)
    connection.execute(of_window.values(**values))
