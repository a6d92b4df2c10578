"""This machine's copies of files of a remote store."""

from __future__ import annotations

from acclimate.storage.database import Database
from acclimate.storage.log import catalog
from acclimate.storage.log.segments import Segments
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.runs import stages


def purge(database: Database, segments: Segments, artifacts: Artifacts) -> None:
    """Delete the copies of segments that are no longer stored, and of artifacts nothing refers to.

    So no copy has rows that were erased. A process that is reading such a file finishes with it. A
    store on this machine's disk has no copies.
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
