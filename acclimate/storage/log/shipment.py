"""Moves sealed files to the store and registers each once, without rows of erased subjects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from acclimate.storage.database import Database
from acclimate.storage.log import catalog, erasure
from acclimate.storage.log.catalog import SegmentLine
from acclimate.storage.log.erasure import Erased, ErasedMeanwhile
from acclimate.storage.log.journal import SealedFile
from acclimate.storage.log.segments import Segments


def ship(
    database: Database, segments: Segments, sealed: SealedFile, *, model_id: str, replica: str
) -> None:
    """Store and register the file; may be repeated. Raises `ModelDeleted`.

    Repeating has no effect once the file is registered. A subject that is erased meanwhile is
    removed in another round.
    """
    lost = Counter[str]()
    while True:
        with database.read() as connection:
            known = erasure.erased(connection, model_id)
            arrived = catalog.is_registered(connection, sealed.id)
        if arrived:
            segments.delete_local(sealed)
            return
        kept, found = (
            erasure.clean(segments, sealed, model_id, known) if known else (sealed, Counter[str]())
        )
        lost += found
        try:
            if kept is None:
                _register(database, None, model_id, known, lost)
                segments.discard(sealed, model_id)
            else:
                line = partial(SegmentLine.of, kept, model_id=model_id, replica=replica)
                register = partial(_register, database, line, model_id, known, lost)
                segments.put(kept, model_id, register=register, erased=bool(known))
            return
        except ErasedMeanwhile:
            sealed = kept or sealed


def _register(
    database: Database,
    line: Callable[..., SegmentLine] | None,
    model_id: str,
    known: Erased,
    lost: Counter[str],
    key: str = "",
) -> None:
    """In one transaction: register the segment under `key`, and count the rows removed from it."""
    with database.write() as connection:
        if line is not None:
            catalog.register(connection, line(key=key))
        erasure.note_lost(connection, model_id, known, lost)
