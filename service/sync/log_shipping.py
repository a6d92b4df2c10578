"""Moves this replica's sealed log files to the store and into the open window; what cannot go now
waits and goes later.
"""

from __future__ import annotations

import threading
import time

import structlog

from acclimate.storage.database import Database, Unavailable
from acclimate.storage.log import barrier
from acclimate.storage.log.journal import SealedFile
from acclimate.storage.log.segments import SegmentDamaged, Segments
from acclimate.storage.log.shipment import ship
from acclimate.storage.registry import deletion, models, replicas
from service.inference.recorder import Recorder

log = structlog.get_logger()

SLOW_SECONDS = 4.0


class Shipper:
    """Each file once, however often it is tried. From any thread."""

    def __init__(
        self, *, replica: str, database: Database, segments: Segments, recorder: Recorder
    ) -> None:
        self._replica = replica
        self._database = database
        self._segments = segments
        self._recorder = recorder
        self._waiting: list[tuple[str, SealedFile]] = []
        self._stuck: set[str] = set()
        self._began: float | None = None
        # The last seal of a stopping process may meet one that its polling thread still has in
        # hand.
        self._shipping = threading.Lock()

    @property
    def stuck(self) -> bool:
        """The store did not take a file when it was last tried, or has not answered for some
        seconds.
        """
        began = self._began
        return bool(self._stuck) or (began is not None and time.monotonic() - began > SLOW_SECONDS)

    def take(self, model_id: str, sealed: SealedFile) -> None:
        """The file waits for the next `ship_waiting`."""
        self._waiting.append((model_id, sealed))

    def drop(self, model_id: str) -> None:
        """Nothing of the model is recorded or waits here any more: it was deleted, and its files
        are gone.
        """
        self._recorder.drop(model_id)
        with self._shipping:
            self._waiting = [
                (waiting, sealed) for waiting, sealed in self._waiting if waiting != model_id
            ]

    def seal(self, model_id: str, *, acknowledge: int | None = None) -> bool:
        """Whether all that was recorded of the model before this call is in its window: only then
        it is acknowledged.

        Raises `Unavailable`, and `JournalFailed` where the disk does not let the open file be
        sealed.
        """
        sealed = self._recorder.seal(model_id)
        if sealed is not None:
            self.take(model_id, sealed)
        self.ship_waiting()
        if any(waiting == model_id for waiting, _ in list(self._waiting)):
            return False
        if acknowledge is not None:
            with self._database.write() as connection:
                barrier.acknowledge_seal(connection, self._replica, model_id, acknowledge)
        return True

    def ship_waiting(self) -> None:
        """Try every file that waits; those that the store does not take go on waiting, and that is
        told. Raises `Unavailable`.
        """
        with self._shipping:
            for model_id, sealed in self._recorder.take_retired():
                self.take(model_id, sealed)
            self._began = time.monotonic()
            try:
                self._tell(self._ship_all())
            finally:
                self._began = None

    def _ship_all(self) -> str | None:
        """What went wrong, the last of it."""
        problem = None
        for model_id, sealed in list(self._waiting):
            try:
                self._ship(model_id, sealed)
            except Unavailable:
                raise
            except SegmentDamaged as error:  # this file is wrong, not the store: the others go on
                problem = f"SegmentDamaged: {error}"
            except Exception as error:  # a store may raise anything
                return f"{type(error).__name__}: {error}"
            else:
                self._waiting.remove((model_id, sealed))
        return problem

    def _ship(self, model_id: str, sealed: SealedFile) -> None:
        try:
            ship(self._database, self._segments, sealed, model_id=model_id, replica=self._replica)
        except models.ModelDeleted:
            self._discard(model_id, sealed)
        else:
            log.info("segment registered", model=model_id, segment=sealed.id, rows=sealed.rows)

    def _discard(self, model_id: str, sealed: SealedFile) -> None:
        """Rows of a deleted model go; those of one that the database never knew stay on this disk,
        for another database.
        """
        with self._database.read() as connection:
            deleted = deletion.was_deleted(connection, model_id)
        if deleted:
            self._segments.discard(sealed, model_id)
        else:
            log.error(
                "rows of a model that this database does not know stay here",
                model=model_id,
                rows=sealed.rows,
            )

    def _tell(self, problem: str | None) -> None:
        """Say once that rows wait here and why, and once that they no longer do, in the log and in
        this replica's lamp.
        """
        stuck = {model_id for model_id, _ in self._waiting} if problem else set()
        for model_id in stuck - self._stuck:
            log.error(
                "logged rows wait on this disk: the store does not take them",
                model=model_id,
                error=problem,
            )
        for model_id in stuck ^ self._stuck:
            said = f"logged rows wait on its disk: {problem}" if model_id in stuck else None
            with self._database.write() as connection:
                replicas.report_problem(connection, self._replica, model_id, said)
        self._stuck = stuck
