"""Which of learner and proved version serves when a run begins, and what labels said so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acclimate.learning.evaluation.serving_guard import Server, Standing
from acclimate.storage.registry import promotions
from acclimate.storage.runs import comparisons

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping


def of_run(connection: Connection, run: RowMapping, proved: int) -> Standing:
    """The standing before this run, which compares its parent with the `proved` version."""
    return _standing(connection, run["model_id"], proved, before=run["id"])


def now(connection: Connection, model_id: str, proved: int) -> Standing:
    """The standing that the next run would begin with."""
    return _standing(connection, model_id, proved, before=None)


def _standing(
    connection: Connection, model_id: str, proved: int, *, before: str | None
) -> Standing:
    """Who serves is read from the registry, so an operator's promotion or rollback counts. What was
    known before counts while the same version is the proved one.
    """
    champion = promotions.champion(connection, model_id)
    learner = promotions.learner(connection, model_id)
    assert champion is not None, "a model without a champion compares nothing"
    last = comparisons.last_serving(connection, model_id, before=before)
    serves_learner = champion.to_version == learner or champion.to_version != proved
    serves: Server = "learner" if serves_learner else "proved"
    if last is None or last["proved"] != proved:
        return Standing(serves=serves)
    names = ("gains", "losses", "proof_gains", "proof_losses", "shown", "shadow", "surer")
    return Standing(serves=serves, **{name: last[name] for name in names if name in last})
