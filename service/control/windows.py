"""Windows as documents of the API, and their quarantine and release."""

from __future__ import annotations

from typing import Literal

from acclimate.storage.database import Database
from acclimate.storage.log import windows
from acclimate.storage.registry import audit_log, models
from service.control import documents, pages
from service.control.documents import Document
from service.control.pages import Page


def listed(database: Database, name: str, page: Page) -> Document:
    """One page of the windows, oldest first. Raises `UnknownModel`."""
    with database.read() as connection:
        model_id = models.named(connection, name)["id"]
        rows, token = pages.cut(windows.list_all(connection, model_id), "number", page)
        run_ids = windows.runs_by_window(connection, model_id)
        open_rows = windows.open_rows(connection, model_id)
    found = (
        documents.window(row, open_rows=open_rows, run_ids=run_ids.get(row["number"], []))
        for row in rows
    )
    return documents.items(found, token)


def set_state(
    database: Database,
    name: str,
    number: int,
    state: Literal["quarantined", "released"],
    *,
    reason: str | None,
    actor: str,
) -> Document:
    """Quarantine or release a closed window; returns it.

    Raises `UnknownModel`, `UnknownWindow`, `WindowOpen`.
    """
    with database.write() as connection:
        model_id = models.named(connection, name)["id"]
        row = windows.set_state(connection, model_id, number, state)
        audit_log.write(
            connection,
            actor=actor,
            action=f"window.{state}",
            target=name,
            content={"window": documents.window_id(number), "reason": reason},
        )
        run_ids = windows.runs_by_window(connection, model_id)
    return documents.window(row, open_rows=0, run_ids=run_ids.get(row["number"], []))


def drift(database: Database, name: str, page: Page) -> Document:
    """One page of the windows' drift diagnoses, oldest first. Raises `UnknownModel`."""
    with database.read() as connection:
        found = windows.list_all(connection, models.named(connection, name)["id"])
    diagnosed = [row for row in found if row["drift"] is not None]
    rows, token = pages.cut(diagnosed, "number", page)
    items = ({"window": documents.window_id(row["number"]), **row["drift"]} for row in rows)
    return documents.items(items, token)
