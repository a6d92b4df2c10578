"""The commands about what a model may do and how it fares: gates, policy, drift, calibration."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

import typer

from acclimate.cli import output
from acclimate.cli.connection import connect
from acclimate.cli.options import AsJson, Home, Model, Url

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one; may be given again."),
]


def gates(
    model: Model, change: Set = None, home: Home = None, url: Url = None, as_json: AsJson = False
) -> None:
    """The gates' limits, or a new revision of them with --set. Exit 4 when somebody else
    was first.
    """
    changes = parse_changes(change or ())
    with connect(home, url) as client:
        found, etag = client.gates(model)
        if changes:
            found = client.set_gates(model, {**found, **changes}, etag)
    _print(found, as_json)


def policy(
    model: Model, change: Set = None, home: Home = None, url: Url = None, as_json: AsJson = False
) -> None:
    """When the model learns and from how much, or a new revision of it with --set. Exit 4 when
    somebody else was first.
    """
    changes = parse_changes(change or ())
    with connect(home, url) as client:
        found, etag = client.policy(model)
        if changes:
            found = client.set_policy(model, {**found, **changes}, etag)
    _print(found, as_json)


def drift(model: Model, home: Home = None, url: Url = None, as_json: AsJson = False) -> None:
    """How far each window lay from the seed set; every sign beside the value from which on it
    counts.
    """
    with connect(home, url) as client:
        found = client.drift(model)
    if as_json:
        output.print_json(found)
        return
    effects = list(
        dict.fromkeys(name for item in found["items"] for name in item.get("effects") or {})
    )
    rows = [
        [*output.pick(item, "window", "kind", "amount"), *(effect(item, name) for name in effects)]
        for item in found["items"]
    ]
    output.print_table(
        output.table(None, ("window", "kind", "amount", *effects), rows, right=("amount", *effects))
    )


def calibration(model: Model, home: Home = None, url: Url = None, as_json: AsJson = False) -> None:
    """How far the confidence of each version may be believed."""
    with connect(home, url) as client:
        found = client.calibration(model)
    if as_json:
        output.print_json(found)
        return
    columns = ("gate", "value", "limit", "n", "verdict")
    rows = [
        [item["version"], *output.pick(gate, *columns)]
        for item in found["items"]
        for gate in item["gates"]
    ]
    output.print_table(
        output.table(None, ("version", *columns), rows, right=("value", "limit", "n"))
    )


def effect(item: dict[str, Any], name: str) -> str | None:
    """One sign of drift as `value / threshold`, with an exclamation mark where it counts."""
    value, threshold, detected = output.pick(
        item, *(f"effects.{name}.{part}" for part in ("value", "threshold", "detected"))
    )
    return None if value is None else f"{value:.3f} / {threshold:.3f}{' !' if detected else '  '}"


def parse_changes(changes: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """`KEY=VALUE` texts as values: numbers, true, false and null as in JSON, everything else as
    text.
    """
    parsed: dict[str, Any] = {}
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or not key.strip():
            raise typer.BadParameter(f"{change!r} is not KEY=VALUE")
        try:
            parsed[key.strip()] = json.loads(text)
        except ValueError:
            parsed[key.strip()] = text
    return parsed


def _print(found: dict[str, Any], as_json: bool) -> None:
    show: Callable[[Any], None] = output.print_json if as_json else output.print_fields
    show(found)
