"""Seals this replica's journals and moves the sealed files to the store and into the open window;
files that cannot be moved now wait and are retried.
"""

from __future__ import annotations

import threading
import time

import structlog

from acclimate.storage.database import Database, Unavailable
from acclimate.storage.log.journal import SealedFile
from acclimate.storage.log.segments import SegmentDamaged, Segments
from acclimate.storage.log.shipment import ship
from acclimate.storage.registry import deletion, models, replicas
from service.inference.recorder import Recorder

log = structlog.get_logger()

SLOW_SECONDS = 4.0


class LogShipper:
    """Ships each sealed file exactly once, however often it is tried. From any thread, except
    `keep_up`, which belongs to one.
    """

    def __init__(
        self, *, replica: str, database: Database, segments: Segments, recorder: Recorder
    ) -> None:
        self._replica = replica
        self._database = database
        self._segments = segments
        self._recorder = recorder
        self._models: set[str] = set()
        self._acknowledged: dict[str, int] = {}
        self._waiting: list[tuple[str, SealedFile]] = []
        self._stuck: set[str] = set()
        self._began: float | None = None
        # While the process stops, its last seal may overlap with one of the polling thread.
        self._shipping = threading.Lock()

    @property
    def stuck(self) -> bool:
        """Whether the store refused a file at the last attempt, or has not answered for
        `SLOW_SECONDS`.
        """
        began = self._began
        return bool(self._stuck) or (began is not None and time.monotonic() - began > SLOW_SECONDS)

    def keep_up(self, seals: dict[str, int]) -> None:
        """Ship what waits and seal what was requested or is old enough.

        Args:
            seals: the requested seal number of every model in the database, by model id. A model
                that is missing and was deleted loses its journal here.

        Raises `Unavailable`, and `JournalFailed` as `seal` does.
        """
        self._drop_deleted(set(seals))
        self.ship_waiting()
        due = set(self._recorder.due())
        for model_id, requested in seals.items():
            if requested > self._acknowledged.get(model_id, 0):
                if self.seal(model_id, acknowledge=requested):
                    self._acknowledged[model_id] = requested
            elif model_id in due:
                self.seal(model_id)

    def take(self, model_id: str, sealed: SealedFile) -> None:
        """Queue the file for the next `ship_waiting`."""
        self._waiting.append((model_id, sealed))

    def drop(self, model_id: str) -> None:
        """Discard the journal and the waiting files of a deleted model."""
        self._recorder.drop(model_id)
        with self._shipping:
            self._waiting = [
                (waiting, sealed) for waiting, sealed in self._waiting if waiting != model_id
            ]

    def seal(self, model_id: str, *, acknowledge: int | None = None) -> bool:
        """Seal the model's journal and ship it.

        Returns whether every row recorded before this call is in the open window. Only then the
        seal number `acknowledge` is written to the database.

        Raises `Unavailable`, and `JournalFailed` when the disk does not let the open file be
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
                replicas.note_sealed(connection, self._replica, model_id, acknowledge)
        return True

    def ship_waiting(self) -> None:
        """Try to ship every waiting file; those that the store refuses keep waiting, which is
        reported. Raises `Unavailable`.
        """
        with self._shipping:
            for model_id, sealed in self._recorder.take_retired():
                self.take(model_id, sealed)
            self._began = time.monotonic()
            try:
                self._report(self._ship_all())
            finally:
                self._began = None

    def _drop_deleted(self, models: set[str]) -> None:
        for model_id in self._models - models:
            with self._database.read() as connection:
                deleted = deletion.was_deleted(connection, model_id)
            if deleted:
                self.drop(model_id)
                self._models.discard(model_id)
                log.info("model deleted, its journal is dropped", model=model_id)
        self._models |= models

    def _ship_all(self) -> str | None:
        """Returns the last failure, or None."""
        problem = None
        for model_id, sealed in list(self._waiting):
            try:
                self._ship(model_id, sealed)
            except Unavailable:
                raise
            except SegmentDamaged as error:  # only this file is affected: continue with the others
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
        """Delete the file of a deleted model; keep the file of a model that this database never
        had, which may belong to another database.
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

    def _report(self, problem: str | None) -> None:
        """Report in the log and in the replica's health when files begin to wait, and when they no
        longer do.
        """
        stuck = {model_id for model_id, _ in self._waiting} if problem else set()
        for model_id in stuck - self._stuck:
            log.error(
                "logged rows wait on this disk: the store does not take them",
                model=model_id,
                error=problem,
            )
        for model_id in stuck ^ self._stuck:
            reason = f"logged rows wait on its disk: {problem}" if model_id in stuck else None
            with self._database.write() as connection:
                replicas.report_problem(connection, self._replica, model_id, reason)
        self._stuck = stuck
