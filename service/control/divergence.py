"""How far what answers is from the version that was proved last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from acclimate.storage.runs import comparisons
from service.control.documents import Document

if TYPE_CHECKING:
    from sqlalchemy import Connection

BOUNDS = ("value", "lower", "upper")


def of_model(
    connection: Connection, model_id: str, aliases: Mapping[str, int | None]
) -> Document | None:
    """The share of rows on which champion and proved version differ, with 95 % bounds and `n` rows:
    from the newest run that compared versions. The proved version itself differs on none.

    None where no run compared versions, or labels proved another version since.
    """
    found = comparisons.last_compared(connection, model_id)
    if found is None:
        return None
    share = found["divergence"]
    if aliases["champion"] == aliases["proved"]:
        return {**dict.fromkeys(BOUNDS, 0.0), "n": share["n"]}
    if found["proved"] != aliases["proved"]:
        return None
    return {name: share[name] for name in (*BOUNDS, "n")}


def in_words(found: Document, aliases: Mapping[str, int | None]) -> str:
    """The divergence of a champion that is not proved."""
    return (
        f"version {aliases['champion']} answers, version {aliases['proved']} is the last proved "
        f"one: they give {found['value']:.1%} of {found['n']} rows another label "
        f"(at most {found['upper']:.1%})"
    )
