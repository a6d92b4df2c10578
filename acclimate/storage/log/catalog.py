"""The catalog: which sealed segments there are, which window each is in, and the barrier that
closes a window over replicas.

No row of the log stands here; segments hold them. Every function works inside the caller's
transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, select, true, tuple_, update

from acclimate.learning.data import Past
from acclimate.storage import tables
from acclimate.storage.database import now
from acclimate.storage.log.journal import SealedFile
from acclimate.storage.registry import models, replicas
from acclimate.storage.tables import (
    ACTIVE,
    replica_models,
    runs,
    segments,
    windows,
)


class NotEnoughRows(Exception):
    """The open window holds fewer rows than a run needs; they stay in it."""

    def __init__(self, rows: int, needed: int) -> None:
        super().__init__(f"the open window has {rows} rows, a run needs {needed}")
        self.rows = rows
        self.needed = needed


class UnknownWindow(LookupError):
    """The model has no such window."""


class WindowOpen(Exception):
    """The window is still open: only closed ones can be learnt from, quarantined or released."""


@dataclass(frozen=True, kw_only=True)
class SegmentLine:
    """One sealed file as the catalog knows it."""

    id: str
    model_id: str
    replica: str
    key: str
    digest: str
    rows: int
    bytes: int
    first_logged_at: float
    last_logged_at: float

    @staticmethod
    def of(sealed: SealedFile, *, model_id: str, replica: str, key: str) -> SegmentLine:
        """The line of a sealed file that stands in the store under `key`."""
        return SegmentLine(
            id=sealed.id,
            model_id=model_id,
            replica=replica,
            key=key,
            digest=sealed.digest,
            rows=sealed.rows,
            bytes=sealed.bytes,
            first_logged_at=sealed.first_logged_at,
            last_logged_at=sealed.last_logged_at,
        )


def heartbeat(connection: Connection, replica: str, open_rows: dict[str, int]) -> int:
    """A sign of life, with the rows of each model that this replica has logged and not yet sealed;
    how many replicas live.
    """
    alive = (
        update(tables.replicas)
        .where(tables.replicas.c.replica == replica)
        .values(heartbeat_at=now())
    )
    if connection.execute(alive).rowcount == 0:
        connection.execute(
            insert(tables.replicas).values(replica=replica, heartbeat_at=now(), started_at=now())
        )
    for model_id, rows in open_rows.items():
        replicas.note(connection, replica, model_id, open_rows=rows)
    living = select(func.count()).select_from(tables.replicas).where(replicas.is_live())
    return int(connection.execute(living).scalar_one())


def forget(connection: Connection, replica: str) -> None:
    """The replica stops in good order: nobody waits for it any more."""
    connection.execute(
        update(tables.replicas).where(tables.replicas.c.replica == replica).values(heartbeat_at=0.0)
    )


def live_replicas(connection: Connection, model_id: str) -> list[RowMapping]:
    """What each live replica last said of the model: version, epoch, sealed, problem."""
    joined = tables.replicas.outerjoin(
        replica_models,
        (replica_models.c.replica == tables.replicas.c.replica)
        & (replica_models.c.model_id == model_id),
    )
    query = (
        select(
            tables.replicas.c.replica,
            tables.replicas.c.heartbeat_at,
            replica_models.c.version,
            replica_models.c.epoch,
        )
        .add_columns(replica_models.c.sealed, replica_models.c.open_rows, replica_models.c.problem)
        .select_from(joined)
        .where(replicas.is_live())
        .order_by(tables.replicas.c.replica)
    )
    return list(connection.execute(query).mappings())


def register(connection: Connection, line: SegmentLine) -> bool:
    """Put a sealed segment into the open window; False when it was registered before, which changes
    nothing.

    Raises `UnknownModel` when the model is no longer there.
    """
    models.hold(connection, line.model_id)
    if is_registered(connection, line.id):
        return False
    connection.execute(insert(segments).values(**line.__dict__, registered_at=now()))
    return True


def is_registered(connection: Connection, segment_id: str) -> bool:
    """Whether the segment was ever put into a window."""
    return (
        connection.execute(select(segments.c.id).where(segments.c.id == segment_id)).first()
        is not None
    )


def request_seal(connection: Connection, model_id: str) -> int:
    """The number that every live replica acknowledges once all it has logged so far is sealed and
    registered.
    """
    query = (
        update(tables.models)
        .where(tables.models.c.id == model_id)
        .values(seal=tables.models.c.seal + 1)
        .returning(tables.models.c.seal)
    )
    number = connection.execute(query).scalar()
    if number is None:
        raise models.ModelDeleted(model_id)
    return int(number)


def acknowledge_seal(connection: Connection, replica: str, model_id: str, number: int) -> None:
    replicas.note(connection, replica, model_id, sealed=number, open_rows=0)


def unsealed_replicas(connection: Connection, model_id: str, number: int) -> list[str]:
    """Live replicas that have not yet acknowledged the seal."""
    return [
        row["replica"]
        for row in live_replicas(connection, model_id)
        if (row["sealed"] or 0) < number
    ]


def close_window(
    connection: Connection, model_id: str, *, closed_by: str, needed: int
) -> RowMapping:
    """Close the open window over the segments registered so far, and open the next one. Raises
    `NotEnoughRows`.

    Call under `models.lock`, so that of two callers the second counts what the first left.
    """
    query = select(segments.c.id, segments.c.digest, segments.c.rows).where(
        _in_open_window(model_id)
    )
    found = connection.execute(query.order_by(segments.c.id)).all()
    rows = sum(segment.rows for segment in found)
    if rows < needed:
        raise NotEnoughRows(rows, needed)
    number = int(open_window(connection, model_id)["number"])
    connection.execute(update(segments).where(_in_open_window(model_id)).values(window=number))
    digest = digest_of([segment.digest for segment in found])
    closed = {
        "state": "closed",
        "closed_by": closed_by,
        "closed_at": now(),
        "rows": rows,
        "digest": digest,
    }
    connection.execute(_window(update(windows), model_id, number).values(**closed))
    connection.execute(insert(windows).values(model_id=model_id, number=number + 1, state="open"))
    return window(connection, model_id, number)


def digest_of(digests: Iterable[str]) -> str:
    """One digest over many, in their order: what a window or a run learnt from."""
    return "sha256:" + hashlib.sha256("".join(digests).encode()).hexdigest()


def open_rows(connection: Connection, model_id: str) -> int:
    """Rows of the open window: those in segments and those still in the journals of live
    replicas.
    """
    query = select(func.coalesce(func.sum(segments.c.rows), 0)).where(_in_open_window(model_id))
    sealed = int(connection.execute(query).scalar_one())
    return sealed + sum(row["open_rows"] or 0 for row in live_replicas(connection, model_id))


def all_windows(connection: Connection, model_id: str) -> list[RowMapping]:
    """All windows, oldest first, the open one last."""
    query = select(windows).where(windows.c.model_id == model_id).order_by(windows.c.number)
    return list(connection.execute(query).mappings())


def newest_closed(connection: Connection, model_id: str) -> RowMapping | None:
    """The newest window that is no longer open."""
    query = select(windows).where(windows.c.model_id == model_id, windows.c.state != "open")
    return connection.execute(query.order_by(windows.c.number.desc()).limit(1)).mappings().first()


def open_window(connection: Connection, model_id: str) -> RowMapping:
    """The window that is open. Raises `ModelDeleted`."""
    query = select(windows).where(windows.c.model_id == model_id, windows.c.state == "open")
    row = connection.execute(query).mappings().first()
    if row is None:
        raise models.ModelDeleted(model_id)
    return row


def window(connection: Connection, model_id: str, number: int) -> RowMapping:
    """One window. Raises `UnknownWindow`."""
    query = select(windows).where(windows.c.model_id == model_id, windows.c.number == number)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise UnknownWindow(f"there is no window w-{number}")
    return row


def runs_of_windows(connection: Connection, model_id: str) -> dict[int, list[str]]:
    """The ids of the runs that learnt from each window, oldest first."""
    found: dict[int, list[str]] = {}
    query = select(runs.c.id, runs.c.windows).where(runs.c.model_id == model_id).order_by(runs.c.id)
    for run_id, numbers in connection.execute(query):
        for number in numbers:
            found.setdefault(number, []).append(run_id)
    return found


def set_window_state(connection: Connection, model_id: str, number: int, state: str) -> RowMapping:
    """Quarantine or release a closed window. Raises `UnknownWindow`, `WindowOpen`."""
    if window(connection, model_id, number)["state"] == "open":
        raise WindowOpen(f"window w-{number} is still open")
    connection.execute(_window(update(windows), model_id, number).values(state=state))
    return window(connection, model_id, number)


def note_window(connection: Connection, model_id: str, number: int, **found: Any) -> None:
    """Write what a run found in the window: rows_pseudo_labelled, rows_refused, drift, state."""
    connection.execute(_window(update(windows), model_id, number).values(**found))


def past(connection: Connection, model_id: str, *, before: int) -> Past | None:
    """What was seen in the newest diagnosed window that is not quarantined; None before there is
    one.

    Of windows older than `before` alone: a window that is learnt from again is not compared with
    itself.
    """
    older = (windows.c.model_id == model_id, windows.c.number < before)
    query = select(windows.c.drift, windows.c.state).where(*older).order_by(windows.c.number.desc())
    found = [(drift, state) for drift, state in connection.execute(query) if drift is not None]
    standing = bool(found) and found[0][1] == "quarantined"
    good = (drift for drift, state in found if state in ("closed", "released"))
    return next((Past.of(drift, standing=standing) for drift in good), None)


def segments_of(
    connection: Connection, model_id: str, numbers: Iterable[int] | None
) -> list[RowMapping]:
    """The segments of the given windows (None: of the open one) that still stand in the store, in
    the order of their ids.
    """
    where = _in_open_window(model_id) if numbers is None else segments.c.window.in_(list(numbers))
    query = select(segments).where(
        segments.c.model_id == model_id, where, segments.c.deleted_at.is_(None)
    )
    return list(connection.execute(query.order_by(segments.c.id)).mappings())


def segments_since_window(connection: Connection, model_id: str, number: int) -> list[RowMapping]:
    """The segments of this window and of all later ones that still stand in the store, in the order
    of their ids.
    """
    here = segments.c.window.is_(None) | (segments.c.window >= number)
    query = select(segments).where(
        segments.c.model_id == model_id, here, segments.c.deleted_at.is_(None)
    )
    return list(connection.execute(query.order_by(segments.c.id)).mappings())


def segments_since(
    connection: Connection, model_id: str, since: float, *, most: int
) -> list[RowMapping]:
    """The first `most` segments with rows logged at `since` or later that stand in the store, in
    the order they were begun.
    """
    where = (
        segments.c.model_id == model_id,
        segments.c.last_logged_at >= since,
        segments.c.deleted_at.is_(None),
    )
    query = (
        select(segments)
        .where(*where)
        .order_by(segments.c.first_logged_at, segments.c.id)
        .limit(most)
    )
    return list(connection.execute(query).mappings())


def seal_is_due(connection: Connection, model_id: str, rows: float) -> bool:
    """Whether live replicas hold so many rows in their journals, and have sealed whatever they were
    last asked to.

    A replica that is stuck is therefore asked once.
    """
    alive = live_replicas(connection, model_id)
    asked = int(
        connection.execute(
            select(tables.models.c.seal).where(tables.models.c.id == model_id)
        ).scalar_one()
    )
    held = sum(row["open_rows"] or 0 for row in alive)
    return held > 0 and held >= rows and all((row["sealed"] or 0) >= asked for row in alive)


def segments_from(
    connection: Connection,
    model_id: str,
    after: tuple[float, str],
    *,
    window: int | None,
    most: int,
) -> list[RowMapping]:
    """Up to `most` segments that stand, of one window or of all, from the one of `after` on.

    In the order of (registered_at, id), so that what is registered later comes later, whichever
    window it is in.
    """
    here = segments.c.window == window
    if window is not None and open_window(connection, model_id)["number"] == window:
        here = segments.c.window.is_(None)
    query = select(segments).where(
        segments.c.model_id == model_id,
        segments.c.deleted_at.is_(None),
        true() if window is None else here,
        tuple_(segments.c.registered_at, segments.c.id) >= after,
    )
    return list(
        connection.execute(
            query.order_by(segments.c.registered_at, segments.c.id).limit(most)
        ).mappings()
    )


def segment(connection: Connection, segment_id: str) -> RowMapping | None:
    """The segment, if it still stands in the store."""
    query = select(segments).where(segments.c.id == segment_id, segments.c.deleted_at.is_(None))
    return connection.execute(query).mappings().first()


def still_stands(connection: Connection, segment_id: str) -> bool:
    """False for a segment that was deleted, by the bounds of the log or with its model."""
    return segment(connection, segment_id) is not None


def all_segments(connection: Connection, model_id: str) -> list[RowMapping]:
    """Every segment that still stands in the store, oldest first: by window, then id."""
    query = select(segments).where(segments.c.model_id == model_id, segments.c.deleted_at.is_(None))
    return list(connection.execute(query.order_by(segments.c.id)).mappings())


def standing_keys(connection: Connection) -> set[str]:
    """Where every segment of every model stands that still stands in the store."""
    return {
        row.key
        for row in connection.execute(select(segments.c.key).where(segments.c.deleted_at.is_(None)))
    }


def surplus_segments(
    connection: Connection, model_id: str, *, keep_days: float, max_bytes: float
) -> list[RowMapping]:
    """Segments that the bounds of the log no longer keep, oldest first; never one that an active
    run learns from.
    """
    busy = {
        number
        for (numbers,) in connection.execute(
            select(runs.c.windows).where(runs.c.model_id == model_id, runs.c.state.in_(ACTIVE))
        )
        for number in numbers
    }
    standing = [row for row in all_segments(connection, model_id) if row["window"] not in busy]
    oldest_kept = float(connection.execute(select(now())).scalar_one()) - keep_days * 86_400
    excess = sum(row["bytes"] for row in standing) - max_bytes
    surplus = []
    for row in sorted(standing, key=lambda row: row["last_logged_at"]):
        if row["last_logged_at"] >= oldest_kept and excess <= 0:
            break
        surplus.append(row)
        excess -= row["bytes"]
    return surplus


def mark_deleted(connection: Connection, segment_ids: list[str]) -> None:
    connection.execute(
        update(segments).where(segments.c.id.in_(segment_ids)).values(deleted_at=now())
    )


def replace_segment(
    connection: Connection, line: RowMapping, new: SegmentLine | None, *, labelled: int
) -> None:
    """The segment is this file from now on, or nothing is left of it; its window has so many rows
    and labelled rows fewer.

    Call under `models.lock`.
    """
    changed = {"rows": 0, "deleted_at": now()} if new is None else dict(new.__dict__)
    connection.execute(update(segments).where(segments.c.id == line["id"]).values(**changed))
    here = (
        (windows.c.state == "open")
        if line["window"] is None
        else (windows.c.number == line["window"])
    )
    of_window = update(windows).where(windows.c.model_id == line["model_id"], here)
    connection.execute(of_window.values(rows_labelled=windows.c.rows_labelled - labelled))
    if line["window"] is not None:
        standing = (
            segments.c.model_id == line["model_id"],
            segments.c.window == line["window"],
            segments.c.rows > 0,
        )
        left = connection.execute(
            select(segments.c.digest, segments.c.rows).where(*standing).order_by(segments.c.id)
        )
        found = left.all()
        counted = {
            "rows": sum(row.rows for row in found),
            "digest": digest_of([row.digest for row in found]),
        }
        connection.execute(of_window.values(**counted))


def _in_open_window(model_id: str) -> Any:
    return (
        (segments.c.model_id == model_id)
        & segments.c.window.is_(None)
        & segments.c.deleted_at.is_(None)
    )


def _window(statement: Any, model_id: str, number: int) -> Any:
    return statement.where(windows.c.model_id == model_id, windows.c.number == number)
