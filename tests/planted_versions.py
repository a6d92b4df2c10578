"""Versions that no run made: another one's artifact, changed, for journeys that need a bad one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from digits_model import stream
from running import Service

from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.learning.models import bundle_format
from acclimate.storage.database import Database
from acclimate.storage.registry import models, versions
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.store import Store

Arrays = dict[str, Any]


def plant(
    service: Service,
    name: str,
    version: str,
    change: Callable[[Arrays], Arrays],
    *,
    rows: np.ndarray,
    passed: bool,
) -> str:
    """The number of a new rejected version: the given one with changed arrays, judged on `rows`.

    Its one gate failed unless `passed`; an override makes it champion either way.
    """
    database = Database(
        service.environment.get("ACCLIMATE_DATABASE_URL")
        or f"sqlite:///{(service.home / 'acclimate.db').resolve()}"
    )
    artifacts = Artifacts(
        Store(f"file://{(service.home / 'store').resolve()}", service.home / "cache-of-the-test")
    )
    with database.read() as connection:
        model_id = models.named(connection, name)["id"]
        parent = versions.get(connection, model_id, int(version))
    manifest, arrays = artifacts.read(parent["digest"])
    good = bundle_format.build(manifest, arrays)
    bad = bundle_format.build(manifest, change(dict(arrays))).with_self_test(stream()[0][:20])
    answers = {"student": bad, "champion": good}
    gate = {
        "gate": "class_flow",
        "value": 0.1 if passed else 0.9,
        "limit": 0.25,
        "n": len(rows),
        "verdict": "pass" if passed else "fail",
        "binds": True,
    }
    new = versions.NewVersion(
        digest=artifacts.write(*bundle_format.pack(bad)),
        promoted=False,
        parent=int(version),
        run_id=parent["run_id"],
        gates=[gate],
        evidence="label_free",
        expected={
            key: Behaviour.of(bundle.network_probabilities(rows)).as_json()
            for key, bundle in answers.items()
        },
    )
    with database.write() as connection:
        number = versions.add(connection, model_id, new)
    database.close()
    return str(number)
