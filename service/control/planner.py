"""Plans a run: its stages before training, with the rows and random states of the run."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from acclimate.learning import pipeline
from acclimate.learning.data import UNLABELLED, SeedSet, Window
from acclimate.learning.evaluation.simulation_report import Simulation
from acclimate.learning.outcomes import Learnable, NothingToLearn, Quarantined
from acclimate.learning.run_inputs import RunInputs
from acclimate.learning.spec import Gates, Policy
from acclimate.storage.database import Database
from acclimate.storage.log import barrier, catalog, window_rows, windows
from acclimate.storage.log.segments import SegmentDamaged, Segments
from acclimate.storage.log.window_rows import Sampling
from acclimate.storage.registry import models, promotions, revisions, versions
from acclimate.storage.registry.artifacts import ArtifactError, Artifacts
from acclimate.storage.runs import label_snapshot
from acclimate.storage.runs.label_snapshot import SnapshotInputs
from acclimate.storage.store import StoreError
from service.control import documents
from service.errors import Refusal
from service.inference.model_slot import ModelSlots, Served

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

Plan = Learnable | NothingToLearn | Quarantined
MOST_ROWS = 5000
"""How many rows a plan examines; of a larger window it draws this many at random."""


@dataclass(frozen=True, kw_only=True)
class Basis:
    """The inputs of a run, read in one transaction; it would go on from `learner`."""

    model: RowMapping
    learner: int
    policy: Policy
    gates: Gates
    numbers: list[int]
    needed: int
    lines: list[RowMapping]
    inputs: SnapshotInputs
    simulation: Simulation | None

    @property
    def rows(self) -> int:
        return sum(line["rows"] for line in self.lines)


class Planner:
    """Makes one plan at a time, in its own thread, so that serving has priority."""

    def __init__(
        self,
        database: Database,
        segments: Segments,
        artifacts: Artifacts,
        slots: ModelSlots,
    ) -> None:
        self._database = database
        self._segments = segments
        self._artifacts = artifacts
        self._slots = slots
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="planner")

    def close(self) -> None:
        self.thread.shutdown(wait=False, cancel_futures=True)

    def plan(self, name: str, windows: Sequence[int] | None) -> documents.Document:
        """The plan of a run as a document. Nothing is closed, started or stored.

        Every row that a live replica acknowledged before this call is considered.

        Args:
            windows: numbers of closed windows; None for the open window.

        Raises as `start_run` does for model and windows, and the 503 refusal when an input cannot
        be read.
        """
        champion = self._slots.champion(name)
        if windows is None:
            barrier.seal(self._database, champion.model_id)
        basis = self._read(name, windows)
        if basis.rows < basis.needed or not basis.lines:
            return _document(basis, None, rows=basis.rows, window=None)
        seed = pipeline.run_seed(basis.policy, basis.numbers)
        try:
            rows, window = self._draw(basis, seed)
            parts = SeedSet.of(self._artifacts.read(basis.model["seed_digest"])[1])
            anchor = self._version(champion, 1)
            learner = self._version(champion, basis.learner)
        except (ArtifactError, StoreError, SegmentDamaged) as error:
            raise Refusal("unavailable", f"an input of the plan cannot be read: {error}") from error
        inputs = RunInputs(
            window=window,
            seed=parts,
            champion=learner.bundle,
            anchor=anchor.bundle,
            policy=basis.policy,
            gates=basis.gates,
            simulation=basis.simulation,
        )
        found = pipeline.plan(inputs, pipeline.plain_step(seed))
        return _document(basis, found, rows=rows, window=window)

    def _read(self, name: str, asked: Sequence[int] | None) -> Basis:
        with self._database.read() as connection:
            model = models.named(connection, name)
            _, policy = revisions.policy(connection, model["id"])
            _, gates = revisions.gates(connection, model["id"])
            if asked is None:
                numbers = [windows.list_all(connection, model["id"])[-1]["number"]]
            else:
                numbers = [
                    windows.closed_window(connection, model["id"], number)["number"]
                    for number in asked
                ]
            return Basis(
                model=model,
                learner=promotions.learner(connection, model["id"]) or 1,
                policy=policy,
                gates=gates,
                numbers=numbers,
                needed=policy.min_window_rows if asked is None else 1,
                lines=catalog.segments_of(connection, model["id"], asked),
                inputs=label_snapshot.inputs_now(connection, model["id"], numbers),
                simulation=_simulation(versions.get(connection, model["id"], 1)),
            )

    def _draw(self, basis: Basis, seed: int) -> tuple[int, Window]:
        """How many rows there are, and those of them that the plan looks at, split as the run would
        split them.
        """
        sampling = Sampling(most=MOST_ROWS, rng=np.random.default_rng(seed))
        found = window_rows.assemble(
            self._segments,
            basis.lines,
            lambda rows: label_snapshot.snapshot(self._segments, basis.inputs, rows),
            rng=pipeline.stage_rng(seed, "snapshot"),
            sampling=sampling,
        )
        return found.total, found.window

    def _version(self, champion: Served, number: int) -> Served:
        if champion.version == number:
            return champion
        with self._database.read() as connection:
            digest = versions.get(connection, champion.model_id, number)["digest"]
        return self._slots.get_or_load(champion.model_id, number, digest)


def _simulation(first: RowMapping) -> Simulation | None:
    document = first["rehearsal"]
    return Simulation.from_json(document) if document is not None else None


def _document(
    basis: Basis, found: Plan | None, *, rows: int, window: Window | None
) -> dict[str, Any]:
    """The plan as JSON; `found` is None where the window has too few rows to be examined."""
    labels = found.labels if isinstance(found, Learnable | NothingToLearn) else None
    examined = len(window) if window is not None else 0
    detail = _detail(basis, found)
    if 0 < examined < rows:
        detail = f"{detail} (examined {examined} of {rows} rows)"
    return {
        "dry_run": True,
        "model": basis.model["name"],
        "window": {
            "id": documents.window_id(basis.numbers[-1]),
            "rows": rows,
            "rows_examined": examined,
            "rows_pseudo_labelled": int(labels.accepted.sum()) if labels is not None else 0,
            "rows_refused": sum(labels.refused.values()) if labels is not None else 0,
            "refused": labels.refused if labels is not None else {},
            "rows_labelled": int((window.held_out_labels != UNLABELLED).sum())
            if window is not None
            else 0,
            "rows_taught": len(window.taught or ()) if window is not None else 0,
        },
        "needed": basis.needed,
        "enough": basis.rows >= basis.needed,
        "drift": found.diagnosis.drift.document if found is not None else None,
        "would_learn": isinstance(found, Learnable),
        "detail": detail,
    }


def _detail(basis: Basis, found: Plan | None) -> str:
    """In words, what a run would do."""
    if found is None:
        return f"the window has {basis.rows} rows, a run needs {basis.needed}"
    if isinstance(found, Learnable):
        accepted = int(found.labels.accepted.sum())
        return f"{accepted} rows would be learnt from; the gates judge the result"
    return found.detail
