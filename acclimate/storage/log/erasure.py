"""Erasure of a data subject's rows from the log, and the versions that had learnt from them.

Segments are immutable: one with such rows is replaced by a file without them. An erasure is
recorded in the database and beside the segments, so that rows which a restored database or store
brings back are erased again. The subject itself is recorded nowhere, only its pseudonym. Rows that
the subject sends afterwards are logged as usual.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, RowMapping, insert, select, update

from acclimate.storage.database import Database, clock
from acclimate.storage.log import barrier, catalog
from acclimate.storage.log.catalog import SegmentLine
from acclimate.storage.log.journal import SealedFile
from acclimate.storage.log.segments import SegmentDamaged, Segments
from acclimate.storage.registry import audit_log, labels, models
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.runs import label_snapshot, pseudo_labels, runs
from acclimate.storage.tables import erasures
from acclimate.storage.tables import runs as all_runs

Erased = Mapping[str, float]
"""By pseudonym: rows of the subject logged until then, unix seconds, are to be erased."""


class ErasedMeanwhile(Exception):
    """A subject was erased after the file was cleaned: clean it again."""


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """The number of the subject's rows erased so far, and the versions that learnt from them."""

    rows: int
    versions: list[int]


def pseudonym(model_id: str, subject: str) -> str:
    """The name under which the erasure of a subject is recorded."""
    return hashlib.sha256(f"{model_id} {subject}".encode()).hexdigest()


def erased(connection: Connection, model_id: str) -> dict[str, float]:
    """The erased subjects of the model: until when, by pseudonym."""
    query = select(erasures.c.pseudonym, erasures.c.until).where(erasures.c.model_id == model_id)
    return {row.pseudonym: row.until for row in connection.execute(query)}


def seen_by(connection: Connection, model_id: str) -> set[int]:
    """The versions of the model that had learnt from a row that was erased since."""
    query = select(erasures.c.versions).where(erasures.c.model_id == model_id)
    return {number for (numbers,) in connection.execute(query) for number in numbers}


def erase(
    database: Database,
    segments: Segments,
    artifacts: Artifacts,
    model: RowMapping,
    subject: str,
    *,
    actor: str,
) -> Erasure:
    """Erase the subject's rows that were acknowledged before this call; returns what was erased.

    A replica that is dead or does not answer erases its own rows when it returns. A run that learns
    from a window with such rows is cancelled. Repeating gives the same answer, and continues after
    an error. Raises `ModelDeleted`, `SegmentDamaged`, `StoreError`.
    """
    name = pseudonym(model["id"], subject)
    with database.read() as connection:
        until = clock(connection)
    # First beside the segments, where a restored database finds it.
    segments.put_tombstone(model["id"], name, until)
    with database.write() as connection:
        _remember(connection, model["id"], {name: until})
        audit_log.write(
            connection,
            actor=actor,
            action="subject.erase",
            target=model["name"],
            content={"subject": name},
        )
    barrier.seal(database, model["id"])
    with database.write() as connection:
        # Clocks of replicas differ: all that is sealed by now was acknowledged before this call.
        newest = max(
            (line["last_logged_at"] for line in catalog.all_segments(connection, model["id"])),
            default=until,
        )
        _remember(connection, model["id"], {name: max(until, newest)})
    segments.put_tombstone(model["id"], name, max(until, newest))
    clean_all(database, segments, artifacts, model["id"])
    with database.read() as connection:
        row = connection.execute(select(erasures).where(*_here(model["id"], name))).one()
    return Erasure(rows=row.rows, versions=sorted(row.versions))


def clean_all(database: Database, segments: Segments, artifacts: Artifacts, model_id: str) -> None:
    """Remove rows of erased subjects from every segment of the model.

    Also after database or store were restored from a backup. Raises the first `SegmentDamaged`
    after all other segments were cleaned, and `StoreError`.
    """
    with database.write() as connection:
        _remember(connection, model_id, segments.tombstones(model_id))
        lines = catalog.all_segments(connection, model_id)
        known = erased(connection, model_id)
    damaged: SegmentDamaged | None = None
    for line in lines if known else ():
        try:
            _clean_segment(database, segments, artifacts, model_id, line, known)
        except SegmentDamaged as error:
            damaged = damaged or error
    if damaged is not None:
        raise damaged


def clean(
    segments: Segments, sealed: SealedFile, model_id: str, known: Erased
) -> tuple[SealedFile | None, Counter[str]]:
    """The sealed file without rows of erased subjects (None: none left), rows lost by pseudonym."""
    rows = segments.read_sealed(sealed)
    gone = _to_erase(rows.subject, rows.logged_at, model_id, known)
    lost = Counter(name for name in gone if name is not None)
    return (
        segments.replace_local(sealed, rows.take(_positions(gone, kept=True))) if lost else sealed
    ), lost


def note_lost(connection: Connection, model_id: str, known: Erased, lost: Counter[str]) -> None:
    """Count the rows that a file lost, if `known` are still all erased subjects.

    Raises `ErasedMeanwhile`, `ModelDeleted`.
    """
    models.lock_shared(connection, model_id)
    if erased(connection, model_id) != known:
        raise ErasedMeanwhile
    for name, count in lost.items():
        _count(connection, model_id, name, count, set())


def _clean_segment(
    database: Database,
    segments: Segments,
    artifacts: Artifacts,
    model_id: str,
    line: RowMapping,
    known: Erased,
) -> None:
    """Remove rows of erased subjects from one stored segment. Raises `SegmentDamaged`."""
    if segments.exists(line["key"]) and not any(
        _to_erase(*segments.subjects(line["key"]), model_id, known)
    ):
        segments.delete_before(line["key"])
        return
    with database.write() as connection:
        models.lock(connection, model_id)
        now = catalog.segment(connection, line["id"])
        if now is None:
            return
        if not segments.exists(now["key"]):
            now = _use_newest_file(connection, segments, now)
        key = None if now is None else now["key"]
        forgotten = (
            []
            if now is None
            else _rewrite(connection, segments, model_id, now, erased(connection, model_id))
        )
        after = catalog.segment(connection, line["id"])
    if after is not None:
        segments.delete_before(after["key"])
    elif key is not None:
        segments.delete_before(key)
        segments.delete(key)
    for digest in forgotten:
        artifacts.delete(digest)


def _use_newest_file(
    connection: Connection, segments: Segments, line: RowMapping
) -> RowMapping | None:
    """Replace the segment's file by the newest stored one; None where there is none.

    A restored database names a file that was replaced since.
    """
    found = segments.newest(line["model_id"], line["id"])
    if found is None:
        return None
    catalog.replace_segment(connection, line, _line_of(line, *found), labelled=0)
    return catalog.segment(connection, line["id"])


def _rewrite(
    connection: Connection, segments: Segments, model_id: str, line: RowMapping, known: Erased
) -> list[str]:
    """Remove the rows from segment, window and labels; returns artifacts to delete."""
    rows = segments.read(line["key"], line["digest"])
    gone = _to_erase(rows.subject, rows.logged_at, model_id, known)
    if not any(gone):
        return []
    lost = rows.take(_positions(gone, kept=False))
    addresses = set(zip(lost.prediction_id, lost.row.tolist(), strict=True))
    labelled = labels.erase(connection, model_id, addresses)
    kept = _positions(gone, kept=True)
    new = None
    if len(kept):
        new = _line_of(line, *segments.rewrite(model_id, line["id"], line["key"], rows.take(kept)))
    catalog.replace_segment(connection, line, new, labelled=labelled)
    saw = _runs_that_saw(connection, model_id, line["window"], labelled=labelled > 0)
    for run in saw:
        if run["state"] in ("queued", "running"):
            runs.cancel(connection, run["id"])
    versions = {int(run["version"]) for run in saw if run["version"] is not None}
    for name, count in Counter(name for name in gone if name is not None).items():
        _count(connection, model_id, name, count, versions)
    return _forget_pseudo_labels(connection, saw)


def _to_erase(
    subjects: Sequence[str | None], logged_at: NDArray[np.float64], model_id: str, known: Erased
) -> list[str | None]:
    """For each row the pseudonym under which it is to be erased, or None."""
    names = {
        subject: pseudonym(model_id, subject) for subject in set(subjects) if subject is not None
    }
    found = [None if subject is None else names[subject] for subject in subjects]
    return [
        name if name is not None and at <= known.get(name, -np.inf) else None
        for name, at in zip(found, logged_at.tolist(), strict=True)
    ]


def _positions(gone: list[str | None], *, kept: bool) -> NDArray[np.intp]:
    """The positions of the rows that are kept, or of the others."""
    return np.flatnonzero(np.array([(name is None) == kept for name in gone], dtype=np.bool_))


def _line_of(line: RowMapping, key: str, sealed: SealedFile) -> SegmentLine:
    """The catalog line of the file that replaces this one."""
    return SegmentLine.of(sealed, model_id=line["model_id"], replica=line["replica"], key=key)


def _runs_that_saw(
    connection: Connection, model_id: str, window: int | None, *, labelled: bool
) -> list[RowMapping]:
    """The runs over this window and, with `labelled`, the later ones that its labels taught."""
    found = connection.execute(select(all_runs).where(all_runs.c.model_id == model_id)).mappings()
    return [
        run
        for run in found
        if window is not None and run["windows"] and _saw(run, window, labelled)
    ]


def _saw(run: RowMapping, window: int, labelled: bool) -> bool:
    """Whether the run learnt from rows or labels of this window."""
    taught = labelled and 0 < min(run["windows"]) - window <= label_snapshot.MOST_WINDOWS
    return window in run["windows"] or taught


def _forget_pseudo_labels(connection: Connection, saw: list[RowMapping]) -> list[str]:
    """Clear the named pseudo-labels of these runs; returns the digests. Counts stay.

    An artifact of accepted pseudo-labels names rows by number.
    """
    named = [run for run in saw if run["pseudo_labels"] is not None]
    for run in named:
        pseudo_labels.clear_artifact(connection, run["id"])
    return [run["pseudo_labels"] for run in named]


def _remember(connection: Connection, model_id: str, subjects: Erased) -> None:
    """Record that these subjects are erased until then, or later where that is recorded already.

    Raises `ModelDeleted`.
    """
    models.lock(connection, model_id)
    known = erased(connection, model_id)
    for name, until in subjects.items():
        if name not in known:
            connection.execute(
                insert(erasures).values(model_id=model_id, pseudonym=name, until=until, versions=[])
            )
        elif until > known[name]:
            connection.execute(update(erasures).where(*_here(model_id, name)).values(until=until))


def _count(connection: Connection, model_id: str, name: str, rows: int, versions: set[int]) -> None:
    """Add erased rows, and versions that had learnt from them, to the subject's record."""
    known = connection.execute(select(erasures).where(*_here(model_id, name))).one()
    values = {"rows": known.rows + rows, "versions": sorted({*known.versions, *versions})}
    connection.execute(update(erasures).where(*_here(model_id, name)).values(**values))


def _here(model_id: str, name: str) -> tuple[ColumnElement[bool], ...]:
    return (erasures.c.model_id == model_id, erasures.c.pseudonym == name)
