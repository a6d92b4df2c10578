"""Stored results of a run's finished stages: another attempt continues from them.

A result is a JSON document and named arrays, as `learning.stage_results` packs it.
"""

from __future__ import annotations

from typing import Any

import structlog
from numpy.typing import NDArray

from acclimate.learning.data import Json
from acclimate.storage.database import Database
from acclimate.storage.registry.artifacts import ArtifactError, Artifacts
from acclimate.storage.runs import stages
from acclimate.storage.runs.runs import Claim

log = structlog.get_logger()

Packed = tuple[Json, dict[str, NDArray[Any]]]


class StageStore:
    """The stage results of one claimed run, as artifacts named by digest."""

    def __init__(self, database: Database, artifacts: Artifacts, claim: Claim) -> None:
        self._database = database
        self._artifacts = artifacts
        self._claim = claim
        with database.read() as connection:
            self._digests = stages.finished(connection, claim.run_id)

    def load(self, stage: str) -> Packed | None:
        """The result that an earlier attempt stored; None where the stage has to be computed."""
        digest = self._digests.get(stage)
        if digest is None:
            return None
        try:
            manifest, arrays = self._artifacts.read(digest)
        except ArtifactError as error:
            log.warning(
                "the stored result cannot be read, the stage is computed again",
                stage=stage,
                error=str(error),
            )
            return None
        log.info("continuing from the stored result", stage=stage)
        return manifest["content"], arrays

    def save(self, stage: str, packed: Packed) -> None:
        """Store the result of this stage. Raises `LeaseLost`."""
        content, arrays = packed
        # The run's id in the manifest makes the digest unique to the run: the artifact is deleted
        # when the run ends.
        manifest = {"run": self._claim.run_id, "stage": stage, "content": content}
        self.finish(stage, self._artifacts.write(manifest, arrays))

    def finish(self, stage: str, digest: str) -> None:
        """Name the artifact that holds the stage's result. Raises `LeaseLost`."""
        with self._database.write() as connection:
            stages.finish(connection, self._claim, stage, digest)
