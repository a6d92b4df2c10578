"""Resolves names of ids: latest, open, and the aliases of versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from acclimate.client.errors import Json, NotFoundError
from acclimate.client.http import Client

ALIASES = ("champion", "previous", "challenger", "anchor", "learner", "proved")


def version_id(client: Client, model: str, word: str) -> str:
    """The version of an alias, or the newest for `latest`; any other word is returned unchanged."""
    if word in ALIASES:
        version = client.model(model).get(word)
        if version is None:
            raise _nothing(f"{model} has no {word}")
        return str(version)
    if word == "latest":
        return str(
            max(_some(client.versions(model), f"{model} has no versions yet"), key=_number)[
                "version"
            ]
        )
    return word


def run_id(client: Client, word: str, model: str | None) -> str:
    """The newest run for `latest`, or the run that published the version of an alias; any other
    word is returned unchanged.
    """
    if word == "latest":
        return str(
            max(_some(client.runs(model=model), "no runs yet"), key=lambda run: run["created_at"])[
                "id"
            ]
        )
    if word in ALIASES and model is not None:
        run = client.version(model, version_id(client, model, word)).get("run")
        if run is None:
            raise _nothing(f"no run published the {word} of {model}")
        return str(run)
    return word


def window_id(client: Client, model: str, word: str) -> str:
    """The open window for `open`, the last closed one for `latest`; any other word is returned
    unchanged.
    """
    if word not in ("open", "latest"):
        return word
    fitting = [
        window
        for window in client.windows(model)
        if (window["state"] == "open") == (word == "open")
    ]
    return str(
        _some(fitting, f"{model} has no {'open' if word == 'open' else 'closed'} window")[-1]["id"]
    )


def _some(items: Sequence[Json], otherwise: str) -> Sequence[Json]:
    if not items:
        raise _nothing(otherwise)
    return items


def _number(version: Json) -> int:
    return int(version["version"])


def _nothing(text: str) -> NotFoundError:
    body: dict[str, Any] = {"type": "not-found", "detail": text}
    return NotFoundError(404, body)
