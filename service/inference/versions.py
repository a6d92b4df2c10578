"""The versions of a model that a request may name by number."""

from __future__ import annotations

from acclimate.storage.database import Unavailable
from acclimate.storage.registry import promotions, versions
from acclimate.storage.registry.artifacts import ArtifactError
from acclimate.storage.store import StoreError
from service.control import documents
from service.errors import Refusal
from service.inference.model_slot import Model, Served
from service.state import ServiceState


def numbers(state: ServiceState, model: Model) -> set[int]:
    """Champion, previous and the versions in memory, without deleted ones.

    While the database does not answer, only the versions in memory.
    """
    found = state.slots.versions(model.id)
    try:
        with state.database.read() as connection:
            champion = promotions.champion(connection, model.id)
            if champion is not None:
                found |= {champion.to_version, champion.from_version or champion.to_version}
            rows = {number: versions.get(connection, model.id, number) for number in found}
            return {number for number, row in rows.items() if row["deleted_at"] is None}
    except Unavailable:
        return found


def load(state: ServiceState, model: Model, version: str) -> tuple[Served, bool]:
    """The version with this number, and whether it was ever champion. Blocks while it is loaded.

    Raises the 404 refusal, `UnknownVersion`, and the 503 refusal for one that cannot be loaded.
    """
    number = documents.number(version)
    if number is None:
        raise Refusal("not-found", f"there is no version {version[:32]!r}")
    with state.database.read() as connection:
        row = versions.get_stored(connection, model.id, number)
    try:
        served = state.slots.get_or_load(model.id, row["number"], row["digest"])
    except (ArtifactError, StoreError, ValueError) as error:
        # It may have been deleted meanwhile.
        with state.database.read() as connection:
            versions.get_stored(connection, model.id, number)
        raise Refusal(
            "unavailable",
            f"version {version} cannot be loaded: {error}",
            headers={"Retry-After": "5"},
        ) from error
    return served, row["state"] == "promoted"
