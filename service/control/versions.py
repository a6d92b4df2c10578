"""Versions and promotions as documents of the API; promotion, rollback and deletion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from acclimate.storage.database import Database
from acclimate.storage.log import erasure, windows
from acclimate.storage.registry import audit_log, deletion, models, promotions, versions
from service.control import documents, pages
from service.control.documents import Document
from service.control.pages import Page
from service.errors import Refusal
from service.state import ServiceState

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

CALIBRATION_GATES = ("max_ece", "raw_ece")


def listed(database: Database, name: str, page: Page) -> Document:
    """One page of the versions, oldest first. Raises `UnknownModel`."""
    with database.read() as connection:
        model_id = models.named(connection, name)["id"]
        rows, token = pages.cut(versions.list_all(connection, model_id), "number", page)
        return documents.items(_documents(connection, model_id, rows), token)


def document(database: Database, name: str, version: str) -> Document:
    """The version with this number or alias.

    Raises `UnknownModel`, `UnknownVersion` or the 404 refusal.
    """
    with database.read() as connection:
        model_id = models.named(connection, name)["id"]
        number = _number(version, promotions.aliases(connection, model_id))
        row = versions.get(connection, model_id, number)
        return _documents(connection, model_id, [row])[0]


def delete(state: ServiceState, name: str, version: str, *, actor: str) -> None:
    """Delete the artifact of a version. Raises as `document` does, and `VersionAliased`."""
    with state.database.write() as connection:
        model = models.named(connection, name)
        number = _number(version, promotions.aliases(connection, model["id"]))
        deletion.delete_version(connection, model, number, actor=actor)
    deletion.sweep(state.database, state.segments, state.artifacts, state.run_logs)


def list_promotions(database: Database, name: str, page: Page) -> Document:
    """One page of the promotions, oldest first. Raises `UnknownModel`."""
    with database.read() as connection:
        history = promotions.list_all(connection, models.named(connection, name)["id"])
    rows, token = pages.cut(history, "epoch", page)
    return documents.items((documents.promotion(row) for row in rows), token)


def alias(database: Database, name: str, alias: str) -> tuple[str, int]:
    """Version and epoch of an alias. Raises `UnknownModel` and the 404 refusal."""
    with database.read() as connection:
        model_id = models.named(connection, name)["id"]
        aliases = promotions.aliases(connection, model_id)
        champion = promotions.champion(connection, model_id)
    version = aliases.get(alias)
    if version is None or champion is None:
        raise Refusal("not-found", f"the alias {alias[:32]!r} names no version")
    return str(version), champion.epoch


def promote(
    database: Database,
    name: str,
    version: str,
    *,
    expected: int,
    override: bool,
    reason: str,
    actor: str,
) -> tuple[str, int]:
    """Make a version champion; returns its number and the new epoch.

    Args:
        expected: the epoch that the caller saw.
        override: promote also a version that did not pass its gates.

    Raises as `document` does, and `EpochMoved`, `GateNotPassed`, `AlreadyChampion`.
    """
    with database.write() as connection:
        model_id = models.named(connection, name)["id"]
        number = _number(version, promotions.aliases(connection, model_id))
        epoch = promotions.make_champion(
            connection,
            model_id,
            number,
            expected=expected,
            actor=actor,
            reason=reason,
            override=override,
        )
        kind = promotions.list_all(connection, model_id)[-1]["kind"]
        audit_log.write(
            connection,
            actor=actor,
            action=f"version.{kind}",
            target=name,
            content={"version": number, "reason": reason},
        )
    return str(number), epoch


def roll_back(
    database: Database,
    name: str,
    *,
    to: str | None,
    pause_learning: bool,
    reason: str,
    actor: str,
) -> Document:
    """Make the previous version, or `to`, champion again; returns the promotion.

    Raises as `document` does, and `AlreadyChampion`.
    """
    with database.write() as connection:
        model_id = models.named(connection, name)["id"]
        number = None
        if to is not None:
            number = _number(to, promotions.aliases(connection, model_id))
        epoch, version = promotions.roll_back(
            connection, model_id, to=number, actor=actor, reason=reason
        )
        if pause_learning:
            why = f"rolled back to {version}: {reason}"
            models.set_learning(connection, model_id, "paused", why)
        audit_log.write(
            connection,
            actor=actor,
            action="version.rollback",
            target=name,
            content={"version": version, "reason": reason},
        )
        history = promotions.list_all(connection, model_id)
    return next(documents.promotion(row) for row in history if row["epoch"] == epoch)


def calibration(database: Database, name: str, page: Page) -> Document:
    """One page of the versions' calibration gates, oldest first. Raises `UnknownModel`."""
    with database.read() as connection:
        found = versions.list_all(connection, models.named(connection, name)["id"])
    rows, token = pages.cut(found, "number", page)
    return documents.items((_calibration(row) for row in rows), token)


def _calibration(row: RowMapping) -> Document:
    gates = [gate for gate in row["gates"] if gate["gate"] in CALIBRATION_GATES]
    return {"version": str(row["number"]), "gates": gates}


def _number(version: str, aliases: Mapping[str, int | None]) -> int:
    """The number of a version or alias. Raises the 404 refusal."""
    number = aliases.get(version) or documents.number(version)
    if number is None:
        raise Refusal("not-found", f"there is no version {version[:32]!r}")
    return number


def _documents(connection: Connection, model_id: str, rows: Sequence[RowMapping]) -> list[Document]:
    history = promotions.list_all(connection, model_id)
    aliases = promotions.aliases(connection, model_id)
    windows_by_run: dict[str, list[int]] = {}
    for number, run_ids in windows.runs_by_window(connection, model_id).items():
        for run_id in run_ids:
            windows_by_run.setdefault(run_id, []).append(number)
    saw_erased = erasure.seen_by(connection, model_id)
    return [
        documents.version(
            row,
            history,
            aliases,
            windows_by_run.get(row["run_id"], []),
            saw_erased=row["number"] in saw_erased,
        )
        for row in rows
    ]
