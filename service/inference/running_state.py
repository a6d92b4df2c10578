"""Running state: what this replica follows for a version in another mode than plain, and how the
state of an old answer is found.

An answer names its state by an id, the time at which this state began. The replica remembers its
newest ones; the journal keeps each beside the rows that were answered in it, so that an answer can
be repeated for as long as its row is kept.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from ulid import ULID

from acclimate.learning.data import Floats
from acclimate.learning.models.modes import Mode, State
from acclimate.storage.database import Database
from acclimate.storage.log import barrier, catalog
from acclimate.storage.log.segments import SegmentDamaged, Segments
from acclimate.storage.store import StoreError
from service.errors import Refusal, bad_request
from service.metrics import ServingMetrics

START = "start"
"""The id of a version's own starting state, which is part of the version."""
ID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
POINTER = "#/parameters/state"
MOST_REMEMBERED_BYTES = 16 * 2**20
MOST_SEGMENTS = 32
"""Of the log that one question about a state may look through, oldest first from the time in its id
on.
"""
SLACK_SECONDS = 5.0
"""The clocks of replicas may differ by so much."""
SEAL_SECONDS = 4.0
FRESH_SECONDS = 10.0
"""Journals are sealed for such questions no more often than this."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """One state of one version under its id, as an answer was given in it; nobody changes it."""

    id: str
    version: int
    state: State

    @property
    def content(self) -> dict[str, bytes]:
        """What the journal keeps of it: the content by id, nothing of a state that is part of the
        version.
        """
        return {} if self.id == START else {self.id: self.state.packed()}


class States:
    """The newest states of this replica, in bounded memory, and the way to older ones and to those
    of other replicas.
    """

    def __init__(self, database: Database, segments: Segments) -> None:
        self._database = database
        self._segments = segments
        self._remembered: OrderedDict[tuple[str, str], Snapshot] = OrderedDict()
        self._bytes = 0
        self._sealed_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def remember(self, model_id: str, snapshot: Snapshot) -> None:
        """Find it without the log for a while."""
        with self._lock:
            self._remembered[model_id, snapshot.id] = snapshot
            self._bytes += snapshot.state.numbers.nbytes
            while self._bytes > MOST_REMEMBERED_BYTES and len(self._remembered) > 1:
                self._bytes -= self._remembered.popitem(last=False)[1].state.numbers.nbytes

    def find(self, model_id: str, version: int, mode: Mode, id: str) -> Snapshot:
        """The state of this id, for the version, which has this mode.

        Raises the 400 refusal where it is none of the version's, and 404 where it is neither
        remembered nor in the part of the log that is looked through.
        """
        if mode.start is None:
            raise bad_request(
                POINTER, f"version {version} is in plain mode: it answers without running state"
            )
        if id == START:
            return Snapshot(id=START, version=version, state=mode.start)
        if not ID.fullmatch(id):
            raise bad_request(
                POINTER, f"is not the id of a state: give one that a reply had, or {START!r}"
            )
        with self._lock:
            remembered = self._remembered.get((model_id, id))
        if remembered is not None and remembered.version == version:
            return remembered
        found = (
            (str(remembered.version), b"") if remembered is not None else self._logged(model_id, id)
        )
        if found is None:
            raise Refusal(
                "not-found",
                f"the state {id} is not known: it never was, or its rows are no longer kept",
            )
        if found[0] != str(version):
            raise bad_request(
                POINTER, f"the state {id} is one of version {found[0]}, not of version {version}"
            )
        return Snapshot(id=id, version=version, state=mode.unpacked(found[1]))

    def _logged(self, model_id: str, id: str) -> tuple[str, bytes] | None:
        """The version of the state and its content, from the log."""
        looked_at: set[str] = set()
        found = self._search(model_id, id, looked_at)
        if found is None and self._may_seal(model_id):
            # Rows that replicas still hold in open journals become segments first.
            barrier.seal(self._database, model_id, most_seconds=SEAL_SECONDS)
            found = self._search(model_id, id, looked_at)
        return found

    def _search(self, model_id: str, id: str, looked_at: set[str]) -> tuple[str, bytes] | None:
        since = ULID.from_str(id).timestamp - SLACK_SECONDS
        with self._database.read() as connection:
            lines = catalog.segments_since(connection, model_id, since, most=MOST_SEGMENTS)
        for line in lines:
            if line["id"] in looked_at:
                continue
            looked_at.add(line["id"])
            try:
                found = self._segments.state(line["key"], line["digest"], id)
            except (
                StoreError,
                SegmentDamaged,
            ):  # gone meanwhile, or the alarm of somebody who needs the rows
                continue
            if found is not None:
                return found
        return None

    def _may_seal(self, model_id: str) -> bool:
        now = time.monotonic()
        with self._lock:
            if now - self._sealed_at.get(model_id, -FRESH_SECONDS) < FRESH_SECONDS:
                return False
            self._sealed_at[model_id] = now
            return True


class RunningState:
    """What this replica follows for one version while it serves it, from the version's own starting
    state on.

    The inference thread alone calls `advance`; anybody reads `snapshot`, one reference.
    """

    def __init__(
        self,
        *,
        model: str,
        model_id: str,
        version: int,
        mode: Mode,
        states: States,
        metrics: ServingMetrics,
    ) -> None:
        self._model, self._model_id, self._mode = model, model_id, mode
        self._states, self._metrics = states, metrics
        self._memory = mode.begin()
        self.snapshot = Snapshot(id=START, version=version, state=self._memory.state)
        metrics.follow(model, mode.distance(self.snapshot.state), rows=0)

    def advance(self, seen: Floats) -> None:
        """Take in what `answers.answer` has seen of rows that are logged; a state that began has a
        new id.
        """
        before, self._memory = self._memory, self._mode.advance(self._memory, seen)
        if self._memory.state is before.state:
            return
        self.snapshot = Snapshot(
            id=str(ULID()), version=self.snapshot.version, state=self._memory.state
        )
        self._states.remember(self._model_id, self.snapshot)
        self._metrics.follow(
            self._model, self._mode.distance(self.snapshot.state), rows=self._memory.rows
        )
        self._metrics.state_renewals.labels(self._model).inc()
