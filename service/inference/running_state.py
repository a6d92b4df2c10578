"""The running state of versions in a mode other than plain, and the search for earlier states.

An answer names its state by an id, a ULID with the time at which the state began. The replica keeps
its newest states in memory. The journal keeps every state beside its rows, so that an answer can be
repeated as long as its row is kept.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from ulid import ULID

from acclimate.learning.data import Floats
from acclimate.learning.models.mode_state import State
from acclimate.learning.models.modes import Mode
from acclimate.storage.database import Database
from acclimate.storage.log import barrier, catalog
from acclimate.storage.log.segments import SegmentDamaged, Segments
from acclimate.storage.store import StoreError
from service.errors import Refusal, bad_request
from service.metrics import ServingMetrics

START = "start"
"""The id of a version's starting state, which is part of the version."""
ID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
POINTER = "#/parameters/state"
MOST_REMEMBERED_BYTES = 16 * 2**20
MOST_SEGMENTS = 32
"""How many segments the search for one state reads, oldest first, from the time in its id on."""
SLACK_SECONDS = 5.0
"""The largest difference between the clocks of two replicas."""
SEAL_SECONDS = 4.0
FRESH_SECONDS = 10.0
"""The shortest pause between two seals of the journals for a search."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """One immutable state of one version, with its id."""

    id: str
    version: int
    state: State

    @property
    def content(self) -> dict[str, bytes]:
        """The content by id, for the journal; empty for the starting state of a version."""
        return {} if self.id == START else {self.id: self.state.packed()}


class States:
    """Keeps this replica's newest states in bounded memory, and finds others in the log."""

    def __init__(self, database: Database, segments: Segments) -> None:
        self._database = database
        self._segments = segments
        self._remembered: OrderedDict[tuple[str, str], Snapshot] = OrderedDict()
        self._bytes = 0
        self._sealed_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def remember(self, model_id: str, snapshot: Snapshot) -> None:
        """Keep the state in memory, in place of the oldest ones."""
        with self._lock:
            self._remembered[model_id, snapshot.id] = snapshot
            self._bytes += snapshot.state.numbers.nbytes
            while self._bytes > MOST_REMEMBERED_BYTES and len(self._remembered) > 1:
                self._bytes -= self._remembered.popitem(last=False)[1].state.numbers.nbytes

    def find(self, model_id: str, version: int, mode: Mode, id: str) -> Snapshot:
        """The state with this id.

        Args:
            mode: the mode of the version.

        Raises the 400 refusal for a state of another version, and 404 for one that is neither in
        memory nor in the part of the log that is searched.
        """
        if mode.start is None:
            raise bad_request(
                POINTER, f"version {version} is in plain mode, which has no running state"
            )
        if id == START:
            return Snapshot(id=START, version=version, state=mode.start)
        if not ID.fullmatch(id):
            raise bad_request(
                POINTER, f"is not the id of a state: send one from a reply, or {START!r}"
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
                f"the state {id} is unknown: it never existed, or its rows are no longer kept",
            )
        if found[0] != str(version):
            raise bad_request(
                POINTER, f"the state {id} belongs to version {found[0]}, not to version {version}"
            )
        return Snapshot(id=id, version=version, state=mode.unpacked(found[1]))

    def _logged(self, model_id: str, id: str) -> tuple[str, bytes] | None:
        """Version and content of the state, from the log; None when it is not found."""
        searched: set[str] = set()
        found = self._search(model_id, id, searched)
        if found is None and self._may_seal(model_id):
            # It may be in an open journal, which becomes a segment when it is sealed.
            barrier.seal(self._database, model_id, most_seconds=SEAL_SECONDS)
            found = self._search(model_id, id, searched)
        return found

    def _search(self, model_id: str, id: str, searched: set[str]) -> tuple[str, bytes] | None:
        since = ULID.from_str(id).timestamp - SLACK_SECONDS
        with self._database.read() as connection:
            lines = catalog.segments_since(connection, model_id, since, most=MOST_SEGMENTS)
        for line in lines:
            if line["id"] in searched:
                continue
            searched.add(line["id"])
            try:
                found = self._segments.state(line["key"], line["digest"], id)
            except (StoreError, SegmentDamaged):
                # Deleted meanwhile, or damaged, which whoever needs its rows reports.
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
    """The running state of one served version; it begins at the version's starting state.

    Only the inference thread calls `advance`; any thread may read `snapshot`.
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
        self._model = model
        self._model_id = model_id
        self._mode = mode
        self._states = states
        self._metrics = metrics
        self._memory = mode.begin()
        self.snapshot = Snapshot(id=START, version=version, state=self._memory.state)
        metrics.set_running_state(model, mode.distance(self.snapshot.state), rows=0)

    def advance(self, seen: Floats) -> None:
        """Advance the state by logged rows; a new state gets a new id.

        Args:
            seen: `seen` of what `Bundle.predict` returned, for the logged rows.
        """
        before, self._memory = self._memory, self._mode.advance(self._memory, seen)
        if self._memory.state is before.state:
            return
        self.snapshot = Snapshot(
            id=str(ULID()), version=self.snapshot.version, state=self._memory.state
        )
        self._states.remember(self._model_id, self.snapshot)
        self._metrics.set_running_state(
            self._model, self._mode.distance(self.snapshot.state), rows=self._memory.rows
        )
        self._metrics.state_renewals.labels(self._model).inc()
