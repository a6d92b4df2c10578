"""Registers a new model from its uploaded spec, seed set and weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import SeedSet
from acclimate.learning.models import networks, weights
from acclimate.learning.seed_split import split
from acclimate.learning.spec import ModelSpec, Problem
from acclimate.spec import parse
from acclimate.storage.database import Database
from acclimate.storage.registry import audit_log, models
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.runs import runs
from service.control import documents
from service.control.documents import Document
from service.control.uploads import seed_file, weights_file
from service.errors import Refusal

if TYPE_CHECKING:
    from sqlalchemy import Connection

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class File:
    """One uploaded file; `name` is empty where the part has none."""

    name: str
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Upload:
    """The parts of a request that creates a model."""

    spec: File
    seed: File
    weights: File | None = None


def register(
    database: Database,
    artifacts: Artifacts,
    upload: Upload,
    *,
    allowlist: tuple[str, ...],
    actor: str,
) -> Document:
    """Register the model and create the run for version 1; returns the run.

    Everything is checked first, then the artifacts are written, then model and run are inserted in
    one transaction.

    Args:
        allowlist: the networks of user modules that a spec may name.
        actor: name of the key, for the audit log.

    Raises `SpecError`, `SeedError`, `ModelExists`, and the 422 refusal for a wrong part.
    """
    spec = _spec(upload.spec, allowlist)
    _check_network(spec, allowlist)
    brought = _weights(upload.weights, spec, allowlist)
    contents = {"seed set": _seed_arrays(upload.seed, spec)}
    if brought:
        contents["weights"] = brought
    with database.read() as connection:
        if any(row["name"] == spec.name for row in models.list_all(connection)):
            raise models.ModelExists(spec.name)
    digests = {what: _write(artifacts, what, arrays) for what, arrays in contents.items()}
    with database.write() as connection:
        run_id = _insert(connection, spec, digests, actor)
        for what, digest in digests.items():
            # A deleted model may have had the same seed set, and a sweep may have deleted the file
            # before this transaction; from now on none does.
            if not artifacts.exists(digest):
                _write(artifacts, what, contents[what])
        return documents.run(runs.get(connection, run_id))


def _spec(file: File, allowlist: tuple[str, ...]) -> ModelSpec:
    try:
        text = file.data.decode()
    except UnicodeDecodeError:
        problem = Problem("#/spec", "is not text in UTF-8")
        raise Refusal("invalid", "the spec is wrong", problems=[problem]) from None
    return parse(text, network_allowlist=allowlist)


def _check_network(spec: ModelSpec, allowlist: tuple[str, ...]) -> None:
    """Build one network of a user's module, so that an error is reported here and not by the run.

    Raises the 422 refusal.
    """
    if ":" not in spec.network.network:
        return
    one = replace(spec.network, members=1)
    try:
        networks.initialise(spec.input, one, rng=np.random.default_rng(0), allowlist=allowlist)
    except Exception as error:  # the module is the user's and may raise anything
        known = isinstance(error, networks.BundleError)
        problem = Problem("#/model/network", str(error) if known else repr(error))
        raise Refusal("invalid", "the network cannot be made", problems=[problem]) from error


def _seed_arrays(file: File, spec: ModelSpec) -> Arrays:
    """The arrays of the seed set's three parts, by `part.axis`."""
    x, y = seed_file.read(file.name, file.data, spec.input)
    seed_set = split(x, y, spec.input, rng=np.random.default_rng(spec.policy.seed))
    return _arrays(seed_set)


def _arrays(seed_set: SeedSet) -> Arrays:
    parts = {
        "train": seed_set.train,
        "calibration": seed_set.calibration,
        "judging": seed_set.judging,
    }
    return {
        f"{name}.{axis}": getattr(part, axis) for name, part in parts.items() for axis in ("x", "y")
    }


def _weights(file: File | None, spec: ModelSpec, allowlist: tuple[str, ...]) -> Arrays | None:
    """The uploaded tensors, which fit the network and are finite; None where the spec names none.

    Raises the 422 refusal.
    """
    named = spec.weights_path
    if file is None and named is None:
        return None
    if file is None:
        raise weights_file.wrong(f"the part 'weights' is missing: [model] weights names {named!r}")
    if named is None:
        raise weights_file.wrong(
            "the spec names no weights: give [model] weights the name of this file"
        )
    found = weights_file.read(file.data)
    problems = weights.check(found.header, spec, allowlist=allowlist)
    arrays: Arrays = {}
    if not problems:
        arrays = found.arrays()
        problems = weights.finite(arrays)
    if problems:
        raise Refusal("invalid", "the weights are wrong", problems=problems)
    return arrays


def _write(artifacts: Artifacts, what: str, arrays: Arrays) -> str:
    return artifacts.write({"format": 1, "holds": what}, arrays)


def _insert(connection: Connection, spec: ModelSpec, digests: dict[str, str], actor: str) -> str:
    model_id = models.create(
        connection,
        spec,
        seed_digest=digests["seed set"],
        weights_digest=digests.get("weights"),
        actor=actor,
    )
    run_id = runs.create(
        connection,
        model_id,
        runs.NewRun(
            trigger="create",
            reason=None,
            recipe=spec.policy.recipe,
            windows=[],
            rows=None,
            data_digest=digests["seed set"],
            policy_revision=1,
            gates_revision=1,
            parent_version=None,
        ),
    )
    audit_log.write(
        connection, actor=actor, action="model.create", target=spec.name, content={"run": run_id}
    )
    return run_id
