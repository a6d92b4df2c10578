"""Models: their rows, row locks, and whether they learn.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection, RowMapping, insert, select, update
from sqlalchemy.exc import IntegrityError
from ulid import ULID

from acclimate.learning.spec import ModelSpec
from acclimate.storage.database import now
from acclimate.storage.tables import models, revisions, windows


class ModelExists(Exception):
    """A model with this name exists already."""


class UnknownModel(LookupError):
    """No model has this name."""


class ModelDeleted(UnknownModel):
    """The model was deleted after the caller had read it."""


class EpochMoved(Exception):
    """The epoch or revision is not the one that the caller expected: another change came first."""


def create(
    connection: Connection,
    spec: ModelSpec,
    *,
    seed_digest: str,
    weights_digest: str | None = None,
    actor: str,
) -> str:
    """Create a model with its open window and first policy and gates; returns its id.

    `seed_digest` and `weights_digest` name artifacts. Raises `ModelExists`.
    """
    if connection.execute(select(models.c.id).where(models.c.name == spec.name)).first():
        raise ModelExists(spec.name)
    model_id = str(ULID())
    values = {"id": model_id, "name": spec.name, "spec": spec.as_json(), "seed_digest": seed_digest}
    try:
        connection.execute(
            insert(models).values(**values, weights_digest=weights_digest, created_at=now())
        )
    except IntegrityError as error:  # another transaction inserted the name first
        raise ModelExists(spec.name) from error
    connection.execute(insert(windows).values(model_id=model_id, number=1, state="open"))
    for kind, content in (("policy", asdict(spec.policy)), ("gates", asdict(spec.gates))):
        connection.execute(
            insert(revisions).values(
                model_id=model_id, kind=kind, revision=1, content=content, actor=actor, at=now()
            )
        )
    return model_id


def list_all(connection: Connection) -> list[RowMapping]:
    """All models, by name."""
    return list(connection.execute(select(models).order_by(models.c.name)).mappings())


def named(connection: Connection, name: str) -> RowMapping:
    """The model of this name. Raises `UnknownModel`."""
    row = connection.execute(select(models).where(models.c.name == name)).mappings().first()
    if row is None:
        raise UnknownModel(name)
    return row


def get(connection: Connection, model_id: str) -> RowMapping:
    """The model of this id."""
    return connection.execute(select(models).where(models.c.id == model_id)).mappings().one()


def lock(connection: Connection, model_id: str) -> None:
    """Lock the model's row until the transaction ends, exclusively. Raises `ModelDeleted`.

    Closing windows, publishing and promoting are serialised by this lock.
    """
    if (
        connection.execute(
            select(models.c.id).where(models.c.id == model_id).with_for_update()
        ).first()
        is None
    ):
        raise ModelDeleted(model_id)


def lock_shared(connection: Connection, model_id: str) -> None:
    """Keep the model from being deleted until the transaction ends. Raises `ModelDeleted`.

    Shared locks do not exclude one another.
    """
    query = (
        select(models.c.id)
        .where(models.c.id == model_id)
        .with_for_update(key_share=True, read=True)
    )
    if connection.execute(query).first() is None:
        raise ModelDeleted(model_id)


def set_learning(connection: Connection, model_id: str, learning: str, reason: str | None) -> None:
    """Set whether the model learns ("on" or "paused"), and why."""
    connection.execute(
        update(models)
        .where(models.c.id == model_id)
        .values(learning=learning, learning_reason=reason)
    )
