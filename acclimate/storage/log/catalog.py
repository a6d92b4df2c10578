"""The catalog: one line for each sealed segment, and the window that it is in.

No row of the log is stored here; segments hold them.
Every function works inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, insert, select, true, tuple_, update

from acclimate.storage.database import now
from acclimate.storage.log import windows
from acclimate.storage.log.journal import SealedFile
from acclimate.storage.registry import models
from acclimate.storage.tables import ACTIVE, runs, segments


@dataclass(frozen=True, kw_only=True)
class SegmentLine:
    """One sealed file as the catalog lists it; times in unix seconds."""

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
        """The line of a sealed file that is stored under `key`."""
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


def register(connection: Connection, line: SegmentLine) -> bool:
    """Put a sealed segment into the open window; False when it was registered before.

    Raises `ModelDeleted`.
    """
    models.lock_shared(connection, line.model_id)
    if is_registered(connection, line.id):
        return False
    connection.execute(insert(segments).values(**line.__dict__, registered_at=now()))
    return True


def is_registered(connection: Connection, segment_id: str) -> bool:
    """Whether the segment was ever registered."""
    return (
        connection.execute(select(segments.c.id).where(segments.c.id == segment_id)).first()
        is not None
    )


def segments_of(
    connection: Connection, model_id: str, numbers: Iterable[int] | None
) -> list[RowMapping]:
    """The stored segments of the given windows (None: of the open one), by id."""
    where = (
        windows.in_open_window(model_id)
        if numbers is None
        else segments.c.window.in_(list(numbers))
    )
    query = select(segments).where(
        segments.c.model_id == model_id, where, segments.c.deleted_at.is_(None)
    )
    return list(connection.execute(query.order_by(segments.c.id)).mappings())


def segments_since_window(connection: Connection, model_id: str, number: int) -> list[RowMapping]:
    """The stored segments of this window and all later ones, by id."""
    here = segments.c.window.is_(None) | (segments.c.window >= number)
    query = select(segments).where(
        segments.c.model_id == model_id, here, segments.c.deleted_at.is_(None)
    )
    return list(connection.execute(query.order_by(segments.c.id)).mappings())


def segments_since(
    connection: Connection, model_id: str, since: float, *, most: int
) -> list[RowMapping]:
    """The first `most` stored segments with rows logged at `since` or later, in the order begun."""
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


def segments_from(
    connection: Connection,
    model_id: str,
    after: tuple[float, str],
    *,
    window: int | None,
    most: int,
) -> list[RowMapping]:
    """Up to `most` stored segments of one window or of all, from position `after` on.

    The order is (registered_at, id): what is registered later comes later, whichever window it is
    in.
    """
    here = segments.c.window == window
    if window is not None and windows.open_window(connection, model_id)["number"] == window:
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
    """The segment, if it is stored."""
    query = select(segments).where(segments.c.id == segment_id, segments.c.deleted_at.is_(None))
    return connection.execute(query).mappings().first()


def is_stored(connection: Connection, segment_id: str) -> bool:
    """Whether the segment is stored: no operator and no bound of the log has deleted it."""
    return segment(connection, segment_id) is not None


def all_segments(connection: Connection, model_id: str) -> list[RowMapping]:
    """Every stored segment of the model, by id, which is the order they were begun in."""
    query = select(segments).where(segments.c.model_id == model_id, segments.c.deleted_at.is_(None))
    return list(connection.execute(query.order_by(segments.c.id)).mappings())


def stored_keys(connection: Connection) -> set[str]:
    """The keys of the stored segments of all models."""
    return {
        row.key
        for row in connection.execute(select(segments.c.key).where(segments.c.deleted_at.is_(None)))
    }


def surplus_segments(
    connection: Connection, model_id: str, *, keep_days: float, max_bytes: float
) -> list[RowMapping]:
    """Segments beyond the bounds of the log, oldest first, without those that an active run reads.

    `keep_days` bounds the age of a segment's newest row, `max_bytes` the size of the model's log.
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
    """Record that these segments were deleted from the store."""
    connection.execute(
        update(segments).where(segments.c.id.in_(segment_ids)).values(deleted_at=now())
    )


def replace_segment(
    connection: Connection, line: RowMapping, new: SegmentLine | None, *, labelled: int
) -> None:
    """Replace a segment by `new`, or by nothing, and count its window's rows again.

    `labelled` of the rows it lost had a label. Call under `models.lock`.
    """
    changed = {"rows": 0, "deleted_at": now()} if new is None else dict(new.__dict__)
    connection.execute(update(segments).where(segments.c.id == line["id"]).values(**changed))
    windows.recount(connection, line["model_id"], line["window"], labelled_lost=labelled)
