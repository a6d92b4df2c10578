"""Finds the artifact that already holds the weights of a new version."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from acclimate.storage.database import Database
from acclimate.storage.registry import versions
from acclimate.storage.registry.artifacts import Artifacts
from workers.trainer.outcome import Task


def find(
    database: Database, artifacts: Artifacts, task: Task, arrays: dict[str, NDArray[Any]]
) -> str | None:
    """The digest of the artifact of anchor or parent whose weights equal these bit for bit.

    None where there is none. A version that differs from its parent in its serving mode alone is
    stored without weights of its own. Raises `ArtifactError`.
    """
    if task.first:
        return None
    weights = _weights(arrays)
    for number in sorted({1, task.run["parent_version"]}):
        with database.read() as connection:
            row = versions.get(connection, task.model["id"], number)
        stored = _weights(artifacts.read(row["digest"])[1])
        if all(name in stored and stored[name] == content for name, content in weights.items()):
            return str(row["weights_digest"] or row["digest"])
    return None


def _weights(arrays: dict[str, NDArray[Any]]) -> dict[str, bytes]:
    """The bytes of each weight, by its name."""
    return {name: array.tobytes() for name, array in arrays.items() if name.startswith("member.")}
