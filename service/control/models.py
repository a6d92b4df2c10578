"""Models as documents of the API, and the changes of their learning state and their settings."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from acclimate.learning import rules
from acclimate.learning.documented import describe
from acclimate.learning.spec import Gates, Policy, Problem, own
from acclimate.learning.thresholds import DEFAULT
from acclimate.spec import settings
from acclimate.storage.database import Database
from acclimate.storage.log import windows
from acclimate.storage.registry import audit_log, deletion, models, promotions, replicas, revisions
from acclimate.storage.runs import runs
from service.control import divergence, documents
from service.control.documents import Document
from service.errors import Refusal
from service.state import ServiceState

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

Kind = Literal["policy", "gates"]


def all_documents(database: Database) -> list[Document]:
    """Every model, by name."""
    with database.read() as connection:
        return [_document(connection, row) for row in models.list_all(connection)]


def document(database: Database, name: str) -> Document:
    """One model. Raises `UnknownModel`."""
    with database.read() as connection:
        return _document(connection, models.named(connection, name))


def set_learning(
    database: Database, name: str, learning: str, *, reason: str, actor: str
) -> Document:
    """Switch automatic learning `on` or to `paused`; returns the model. Raises `UnknownModel`."""
    with database.write() as connection:
        row = models.named(connection, name)
        models.set_learning(connection, row["id"], learning, reason or None)
        audit_log.write(
            connection,
            actor=actor,
            action=f"learning.{learning}",
            target=name,
            content={"reason": reason},
        )
        return _document(connection, models.named(connection, name))


def delete(state: ServiceState, name: str, *, actor: str) -> None:
    """Delete the model in one transaction, then its files. Raises `UnknownModel`, `RunActive`."""
    with state.database.write() as connection:
        model = models.named(connection, name)
        attempts_by_run = deletion.delete_model(connection, model, actor=actor)
    for run_id, attempts in attempts_by_run:
        state.run_logs.delete(run_id, attempts)
    deletion.sweep(state.database, state.segments, state.artifacts, state.run_logs)


def read_settings(database: Database, name: str, kind: Kind) -> tuple[int, dict[str, Any]]:
    """Revision and content of a model's policy or gates. Raises `UnknownModel`."""
    with database.read() as connection:
        model_id = models.named(connection, name)["id"]
        return revisions.get(connection, model_id, kind)


def read_only_policy() -> dict[str, Any]:
    """The part of a policy document that belongs to the release: decision limits and rules."""
    return {"thresholds": describe(DEFAULT), "rules": rules.RULES}


def writable_policy(change: dict[str, Any]) -> dict[str, Any]:
    """The settings to change, without read-only ones that are sent back as they are.

    Raises the 422 refusal where a read-only one differs.
    """
    fixed = read_only_policy()
    wrong = [name for name, value in fixed.items() if name in change and change[name] != value]
    if wrong:
        detail = "is read-only: it belongs to the release; leave it out"
        problems = [Problem(f"#/policy/{name}", detail) for name in wrong]
        raise Refusal("invalid", "the policy is wrong", problems=problems)
    return {name: value for name, value in change.items() if name not in fixed}


def revise_settings(
    database: Database,
    name: str,
    kind: Kind,
    change: dict[str, Any],
    *,
    expected: int,
    actor: str,
) -> tuple[int, dict[str, Any]]:
    """Write a new revision with the changed settings; returns its number and content.

    Args:
        change: the settings to replace, by name; the others keep their values.
        expected: the revision that the change was made against.

    Raises `UnknownModel`, `SpecError`, and `EpochMoved` when `expected` is not the newest.
    """
    with database.write() as connection:
        model_id = models.named(connection, name)["id"]
        _, before = revisions.get(connection, model_id, kind)
        changed = _changed(kind, before, change)
        revision = revisions.append(
            connection, model_id, kind, changed, actor=actor, expected=expected
        )
        audit_log.write(
            connection,
            actor=actor,
            action=f"{kind}.set",
            target=name,
            content={"before": before, "change": change},
        )
    return revision, changed


def _changed(kind: Kind, before: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """The settings with the change. What a newer release stored stays, and may be sent back as it
    is. Raises `SpecError`.
    """
    known = own(Policy if kind == "policy" else Gates, before)
    newer = {name: value for name, value in before.items() if name not in known}
    asked = {
        name: value for name, value in change.items() if name not in newer or value != newer[name]
    }
    return {**newer, **asdict(settings(kind, {**known, **asked}))}


def _document(connection: Connection, row: RowMapping) -> Document:
    input_ = row["spec"]["input"]
    named = promotions.aliases(connection, row["id"])
    active = runs.active(connection, row["id"])
    return {
        "name": row["name"],
        "kind": input_["kind"],
        "shape": input_["shape"],
        "classes": input_["classes"],
        "learning": row["learning"],
        "learning_reason": row["learning_reason"],
        "champion": documents.text(named.get("champion")),
        # A challenger gets its number in the transaction that promotes or rejects it.
        "challenger": None,
        "previous": documents.text(named.get("previous")),
        "anchor": "1",
        "learner": documents.text(named.get("learner")),
        "proved": documents.text(named.get("proved")),
        "divergence": divergence.of_model(connection, row["id"], named),
        "active_run": active["id"] if active else None,
        "open_window": {"rows": windows.open_rows(connection, row["id"])},
        "replicas": [_replica(found) for found in replicas.list_live(connection, row["id"])],
        "created_at": documents.time(row["created_at"]),
    }


def _replica(row: RowMapping) -> Document:
    return {
        "id": row["replica"],
        "version": documents.text(row["version"]),
        "epoch": row["epoch"] or 0,
        "problem": row["problem"],
    }
