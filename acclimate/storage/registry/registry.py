"""The registry: models, their versions, and the append-only promotions whose newest epoch names the
champion.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    RowMapping,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from ulid import ULID

from acclimate.learning.spec import Gates, ModelSpec, Policy
from acclimate.storage.database import now
from acclimate.storage.tables import (
    models,
    promotions,
    replica_models,
    replicas,
    revisions,
    versions,
    windows,
)

LIVE_SECONDS = 10.0
"""A replica whose heartbeat is older than this is dead: nothing waits for it."""


class ModelExists(Exception):
    """A model with this name is there already."""


class UnknownModel(LookupError):
    """No model has this name."""


class ModelDeleted(UnknownModel):
    """The model was deleted while somebody worked with it."""


class UnknownVersion(LookupError):
    """The model has no such version."""


class GateNotPassed(Exception):
    """The version did not pass its gates; only an override makes it champion."""


class AlreadyChampion(Exception):
    """The version is the champion: making it champion again would make it its own previous
    version.
    """


class EpochMoved(Exception):
    """Somebody promoted first: the epoch is not the one that the caller had seen."""


def create_model(
    connection: Connection,
    spec: ModelSpec,
    *,
    seed_digest: str,
    weights_digest: str | None = None,
    actor: str,
) -> str:
    """The id of the new model, with its first open window and first revisions of policy and
    gates.
    """
    if connection.execute(select(models.c.id).where(models.c.name == spec.name)).first():
        raise ModelExists(spec.name)
    model_id = str(ULID())
    values = {"id": model_id, "name": spec.name, "spec": spec.as_json(), "seed_digest": seed_digest}
    try:
        connection.execute(
            insert(models).values(**values, weights_digest=weights_digest, created_at=now())
        )
    except IntegrityError as error:  # somebody else took the name at the same moment
        raise ModelExists(spec.name) from error
    connection.execute(insert(windows).values(model_id=model_id, number=1, state="open"))
    for kind, content in (("policy", asdict(spec.policy)), ("gates", asdict(spec.gates))):
        connection.execute(
            insert(revisions).values(
                model_id=model_id, kind=kind, revision=1, content=content, actor=actor, at=now()
            )
        )
    return model_id


def all_models(connection: Connection) -> list[RowMapping]:
    return list(connection.execute(select(models).order_by(models.c.name)).mappings())


def model(connection: Connection, name: str) -> RowMapping:
    """The model of this name. Raises `UnknownModel`."""
    row = connection.execute(select(models).where(models.c.name == name)).mappings().first()
    if row is None:
        raise UnknownModel(name)
    return row


def model_by_id(connection: Connection, model_id: str) -> RowMapping:
    return connection.execute(select(models).where(models.c.id == model_id)).mappings().one()


def lock(connection: Connection, model_id: str) -> None:
    """Serialise what decides about one model (closing windows, publishing) until the transaction
    ends. Raises `ModelDeleted`.
    """
    if (
        connection.execute(
            select(models.c.id).where(models.c.id == model_id).with_for_update()
        ).first()
        is None
    ):
        raise ModelDeleted(model_id)


def hold(connection: Connection, model_id: str) -> None:
    """The model stays there until the transaction ends; others may work with it. Raises
    `ModelDeleted`.
    """
    query = (
        select(models.c.id)
        .where(models.c.id == model_id)
        .with_for_update(key_share=True, read=True)
    )
    if connection.execute(query).first() is None:
        raise ModelDeleted(model_id)


def set_learning(connection: Connection, model_id: str, learning: str, reason: str | None) -> None:
    connection.execute(
        update(models)
        .where(models.c.id == model_id)
        .values(learning=learning, learning_reason=reason)
    )


def revision(
    connection: Connection, model_id: str, kind: str, number: int | None = None
) -> tuple[int, dict[str, Any]]:
    """The numbered (default: newest) revision of `policy` or `gates`, with its number."""
    query = select(revisions.c.revision, revisions.c.content).where(
        revisions.c.model_id == model_id, revisions.c.kind == kind
    )
    if number is not None:
        query = query.where(revisions.c.revision == number)
    row = connection.execute(query.order_by(revisions.c.revision.desc()).limit(1)).first()
    if row is None:
        raise ModelDeleted(model_id)
    return row.revision, row.content


def policy(connection: Connection, model_id: str, number: int | None = None) -> tuple[int, Policy]:
    found, content = revision(connection, model_id, "policy", number)
    return found, Policy(**content)


def policies(connection: Connection) -> dict[str, Policy]:
    """The newest policy of every model, by the model's id."""
    others = revisions.alias()
    newer = (others.c.model_id == revisions.c.model_id) & (others.c.kind == "policy")
    newest = select(func.max(others.c.revision)).where(newer).scalar_subquery()
    query = select(revisions).where(revisions.c.kind == "policy", revisions.c.revision == newest)
    return {
        row["model_id"]: Policy(**row["content"]) for row in connection.execute(query).mappings()
    }


def gates(connection: Connection, model_id: str, number: int | None = None) -> tuple[int, Gates]:
    found, content = revision(connection, model_id, "gates", number)
    return found, Gates(**content)


def revise(
    connection: Connection,
    model_id: str,
    kind: str,
    content: Mapping[str, Any],
    *,
    actor: str,
    expected: int,
) -> int:
    """Append a revision after the expected newest one. Raises `EpochMoved` when there is a newer
    one.
    """
    lock(connection, model_id)
    newest, _ = revision(connection, model_id, kind)
    if newest != expected:
        raise EpochMoved(f"the newest revision of {kind} is {newest}, not {expected}")
    values = {
        "model_id": model_id,
        "kind": kind,
        "revision": newest + 1,
        "content": dict(content),
        "actor": actor,
    }
    connection.execute(insert(revisions).values(**values, at=now()))
    return newest + 1


def add_version(
    connection: Connection,
    model_id: str,
    *,
    digest: str,
    promoted: bool,
    parent: int | None,
    run_id: str,
    gates: list[dict[str, Any]],
    evidence: str | None,
    expected: dict[str, Any] | None = None,
    mode: str = "plain",
    weights_digest: str | None = None,
    lineage: dict[str, Any] | None = None,
    rehearsal: dict[str, Any] | None = None,
) -> int:
    """The number of the new version: one above the highest there ever was. Call under `lock`.

    `expected` is how `student` and `champion` answered the held-out rows when it was judged;
    `weights_digest` the artifact of another version that lends this one its weights; `lineage` what
    it comes of; `rehearsal` what version 1 could learn by itself.
    """
    highest = connection.execute(
        select(func.max(versions.c.number)).where(versions.c.model_id == model_id)
    ).scalar()
    number = (highest or 0) + 1
    values = {
        "model_id": model_id,
        "number": number,
        "digest": digest,
        "state": "promoted" if promoted else "rejected",
    }
    values |= {"parent": parent, "run_id": run_id, "gates": gates, "evidence": evidence}
    values |= {"expected": expected, "mode": mode, "weights_digest": weights_digest}
    values |= {"lineage": lineage, "rehearsal": rehearsal}
    connection.execute(insert(versions).values(**values, created_at=now()))
    return number


def promote(
    connection: Connection,
    model_id: str,
    version: int,
    *,
    kind: str,
    actor: str,
    reason: str | None,
    run_id: str | None = None,
    evidence: str | None = None,
) -> int:
    """The new epoch, which makes the version champion. Call under `lock`."""
    current = champion(connection, model_id)
    epoch = current.epoch + 1 if current else 1
    connection.execute(
        insert(promotions).values(
            model_id=model_id,
            epoch=epoch,
            kind=kind,
            from_version=current.to_version if current else None,
            to_version=version,
            run_id=run_id,
            evidence=evidence,
            actor=actor,
            reason=reason,
            at=now(),
        )
    )
    return epoch


def make_champion(
    connection: Connection,
    model_id: str,
    number: int,
    *,
    expected: int,
    actor: str,
    reason: str,
    override: bool,
) -> int:
    """The new epoch, by an operator's word, if the epoch now is the expected one.

    Raises `UnknownVersion`, `EpochMoved`, `AlreadyChampion`, `GateNotPassed`.
    """
    lock(connection, model_id)
    row = standing_version(connection, model_id, number)
    current = champion(connection, model_id)
    if current is None or current.epoch != expected:
        raise EpochMoved(f"the epoch is {current.epoch if current else 0}, not {expected}")
    _not_yet(current, number)
    if row["state"] != "promoted":
        if not override:
            raise GateNotPassed(f"version {number} did not pass its gates")
        connection.execute(
            update(versions)
            .where(versions.c.model_id == model_id, versions.c.number == number)
            .values(state="promoted")
        )
        return promote(connection, model_id, number, kind="override", actor=actor, reason=reason)
    return promote(
        connection,
        model_id,
        number,
        kind="promote",
        actor=actor,
        reason=reason,
        run_id=row["run_id"],
        evidence=row["evidence"],
    )


def roll_back(
    connection: Connection, model_id: str, *, to: int | None, actor: str, reason: str
) -> tuple[int, int]:
    """(epoch, version): a new epoch that points at `to`, or at the version that was champion before
    this one.

    Raises `UnknownVersion` when there is none, or when `to` was never champion or is deleted, and
    `AlreadyChampion`.
    """
    lock(connection, model_id)
    target = to if to is not None else previous(connection, model_id)
    if target is None:
        raise UnknownVersion("there is no earlier version to roll back to")
    if standing_version(connection, model_id, target)["state"] != "promoted":
        raise UnknownVersion(
            f"version {target} was never champion; promote it with override instead"
        )
    _not_yet(champion(connection, model_id), target)
    return promote(
        connection, model_id, target, kind="rollback", actor=actor, reason=reason
    ), target


def champion(connection: Connection, model_id: str) -> Row[Any] | None:
    """The newest promotion: its `epoch` and `to_version`; None before version 1."""
    query = (
        select(promotions)
        .where(promotions.c.model_id == model_id)
        .order_by(promotions.c.epoch.desc())
        .limit(1)
    )
    return connection.execute(query).first()


def previous(connection: Connection, model_id: str) -> int | None:
    """The version that served before the champion, whatever the direction in which the pointer
    moved.
    """
    current = champion(connection, model_id)
    return current.from_version if current else None


def history(connection: Connection, model_id: str) -> list[RowMapping]:
    """All promotions, oldest first."""
    query = select(promotions).where(promotions.c.model_id == model_id).order_by(promotions.c.epoch)
    return list(connection.execute(query).mappings())


def all_versions(connection: Connection, model_id: str) -> list[RowMapping]:
    query = select(versions).where(versions.c.model_id == model_id).order_by(versions.c.number)
    return list(connection.execute(query).mappings())


def version(connection: Connection, model_id: str, number: int) -> RowMapping:
    """One version. Raises `UnknownVersion`."""
    query = select(versions).where(versions.c.model_id == model_id, versions.c.number == number)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise UnknownVersion(f"there is no version {number}")
    return row


def standing_version(connection: Connection, model_id: str, number: int) -> RowMapping:
    """One version that can still be loaded. Raises `UnknownVersion`, also for one that was
    deleted.
    """
    row = version(connection, model_id, number)
    if row["deleted_at"] is not None:
        raise UnknownVersion(f"version {number} was deleted")
    return row


def aliases(connection: Connection, model_id: str) -> dict[str, int | None]:
    """What `champion`, `previous` and `anchor` name; empty before version 1."""
    current = champion(connection, model_id)
    if current is None:
        return {}
    return {"champion": current.to_version, "previous": current.from_version, "anchor": 1}


def lives() -> ColumnElement[bool]:
    """Whether a replica has given a sign of life lately; one from the future was given before the
    clock was set back.
    """
    return replicas.c.heartbeat_at.between(now() - LIVE_SECONDS, now() + LIVE_SECONDS)


def report_loaded(
    connection: Connection, replica: str, model_id: str, *, version: int, epoch: int
) -> None:
    """A replica answers with this epoch from now on; when it is the last live one, the promotion
    counts as served.
    """
    lock(connection, model_id)
    note_replica(connection, replica, model_id, version=version, epoch=epoch, problem=None)
    behind = (
        select(func.count())
        .select_from(
            replicas.outerjoin(
                replica_models,
                (replica_models.c.replica == replicas.c.replica)
                & (replica_models.c.model_id == model_id),
            )
        )
        .where(lives(), func.coalesce(replica_models.c.epoch, 0) < epoch)
    )
    if connection.execute(behind).scalar_one() == 0:
        served = (
            promotions.c.model_id == model_id,
            promotions.c.epoch <= epoch,
            promotions.c.served_at.is_(None),
        )
        connection.execute(update(promotions).where(*served).values(served_at=now()))


def report_problem(connection: Connection, replica: str, model_id: str, problem: str) -> None:
    """A replica could not load the champion and goes on with what it has."""
    note_replica(connection, replica, model_id, problem=problem)


def note_replica(connection: Connection, replica: str, model_id: str, **values: Any) -> None:
    """Write what a replica says of a model; nothing is written of a model that is no longer
    there.
    """
    where = (replica_models.c.replica == replica, replica_models.c.model_id == model_id)
    if connection.execute(update(replica_models).where(*where).values(**values)).rowcount == 0:
        said = {"replica": replica, "model_id": model_id, **values}
        columns = [literal(value, replica_models.c[name].type) for name, value in said.items()]
        there = select(*columns).where(exists().where(models.c.id == model_id))
        connection.execute(insert(replica_models).from_select(list(said), there))


def _not_yet(current: Row[Any] | None, number: int) -> None:
    if current is not None and current.to_version == number:
        raise AlreadyChampion(f"version {number} is the champion")
