"""The commands gates, policy, drift and calibration."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

import typer

from acclimate.cli import output
from acclimate.cli.connection import connect
from acclimate.cli.options import AsJson, Home, Model, Url

RELEASE = ("thresholds", "rules")
"""Read-only parts of a policy document, shown with --json alone."""
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; may be repeated."),
]


def gates(
    model: Model, change: Set = None, home: Home = None, url: Url = None, as_json: AsJson = False
) -> None:
    """Show the limits of the gates, or change them with --set. Exit 4 when they were changed
    concurrently.
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
    """Show the policy (when and from how much the model learns), or change it with --set. Exit 4
    when it was changed concurrently.
    """
    changes = parse_changes(change or ())
    with connect(home, url) as client:
        found, etag = client.policy(model)
        if changes:
            found = client.set_policy(model, {**found, **changes}, etag)
    if not as_json:
        found = {name: value for name, value in found.items() if name not in RELEASE}
    _print(found, as_json)


def drift(model: Model, home: Home = None, url: Url = None, as_json: AsJson = False) -> None:
    """Show the drift of each window from the seed set: every statistic with its threshold."""
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
    """Show the calibration error of each version."""
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
    """One drift statistic as `value / threshold`, with an exclamation mark above the threshold."""
    value, threshold, detected = output.pick(
        item, *(f"effects.{name}.{part}" for part in ("value", "threshold", "detected"))
    )
    return None if value is None else f"{value:.3f} / {threshold:.3f}{' !' if detected else '  '}"


def parse_changes(changes: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """The values of `KEY=VALUE` texts: JSON where a value is JSON, else text.

    Raises `BadParameter`.
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
