"""Sealed files go to the store and into the open window: exactly once, and without the rows of
erased subjects.
"""

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
    """The file stands in the store and in the open window, however often this is tried. Raises
    `ModelDeleted`.
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
                _let_in(database, None, model_id, known, lost)
                segments.discard(sealed, model_id)
            else:
                line = partial(SegmentLine.of, kept, model_id=model_id, replica=replica)
                let_in = partial(_let_in, database, line, model_id, known, lost)
                segments.put(kept, model_id, register=let_in, erased=bool(known))
            return
        except ErasedMeanwhile:
            sealed = kept or sealed


def _let_in(
    database: Database,
    line: Callable[..., SegmentLine] | None,
    model_id: str,
    known: Erased,
    lost: Counter[str],
    key: str = "",
) -> None:
    """One transaction: the segment, which stands under `key`, is in the open window, what it lost
    is counted.
    """
    with database.write() as connection:
        if line is not None:
            catalog.register(connection, line(key=key))
        erasure.note_lost(connection, model_id, known, lost)
