"""A version that differs in its serving mode alone is stored without weights of its own."""

from __future__ import annotations

import numpy as np
from sqlalchemy import text
from stored_models import new_model, new_run

from acclimate.settings import Settings
from acclimate.storage.runs import runs
from workers.trainer import shared_weights
from workers.trainer.attempt import Trainer


def shared(trainer: Trainer, arrays: dict[str, np.ndarray]) -> str | None:
    return shared_weights.find(trainer.database, trainer.artifacts, trainer.task, arrays)


def test_shared_weights_are_found_in_the_artifact_that_holds_them_itself(database, tmp_path):
    model_id = new_model(database)
    with database.write() as connection:
        claims = []
        for parent in (None, 3):
            run_id = new_run(connection, model_id, parent_version=parent)
            claims.append(runs.claim(connection, run_id, owner="worker-0"))
            connection.execute(text("UPDATE runs SET state = 'failed'"))
    settings = Settings(home=tmp_path, database_url=database.address)
    assert claims[0] is not None
    assert claims[1] is not None
    first, later = Trainer(settings, claims[0]), Trainer(settings, claims[1])
    one, three = (
        {"member.0.w": np.full(3, value), "selftest.x": np.zeros(2)} for value in (1.0, 3.0)
    )
    anchor = later.artifacts.write({}, one)
    weights = later.artifacts.write({}, three)
    borrowed = later.artifacts.write(
        {"mode": "prior"}, {**three, "mode.start": np.ones(1)}, lender=weights
    )
    with database.write() as connection:
        insert = (
            "INSERT INTO versions (model_id, number, digest, weights_digest, state, "
            "gates, created_at) VALUES "
        )
        for number, digest, lender in (
            (1, anchor, None),
            (2, weights, None),
            (3, borrowed, weights),
        ):
            row = {"model": model_id, "number": number, "digest": digest, "lender": lender}
            connection.execute(
                text(f"{insert} (:model, :number, :digest, :lender, 'promoted', '[]', 0)"), row
            )
    try:
        assert shared(later, {**one, "mode.start": np.zeros(1)}) == anchor
        assert shared(later, three) == weights
        assert shared(later, {**three, "member.0.w": np.full(3, 2.0)}) is None
        assert shared(first, one) is None
    finally:
        for trainer in (first, later):
            trainer.database.close()
