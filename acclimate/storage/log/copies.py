"""Copies that this machine holds of a store elsewhere: none stays once nobody may read any more
what it is a copy of.
"""

from __future__ import annotations

from acclimate.storage.database import Database
from acclimate.storage.log import catalog
from acclimate.storage.log.segments import Segments
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.runs import stages


def purge(database: Database, segments: Segments, artifacts: Artifacts) -> None:
    """No copy here has rows that were erased or outlived their log's bounds, nor is one of an
    artifact that nothing refers to.

    Whoever reads such a file at this moment finishes with it. Where the store is a disk of this
    machine there are no copies.
    """
    logged, kept = segments.copies(), artifacts.copies()
    if not logged and not kept:
        return
    with database.read() as connection:
        standing = catalog.stored_keys(connection)
        unneeded = [digest for digest in kept if not stages.is_needed(connection, digest)]
    for key in logged:
        if key not in standing:
            segments.delete_copy(key)
    for digest in unneeded:
        artifacts.delete_copy(digest)
