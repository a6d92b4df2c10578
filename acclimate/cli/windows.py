"""The commands about windows: list, quarantine, release."""

from __future__ import annotations

from typing import Annotated

import typer

from acclimate.cli import output
from acclimate.cli.connection import connect
from acclimate.cli.names import window_id
from acclimate.cli.options import NO_REASON, AsJson, Home, Model, Reason, Url

Window = Annotated[
    str,
    typer.Argument(metavar="WINDOW", help="Id of the window, or latest for the last closed one."),
]


def list_(model: Model, home: Home = None, url: Url = None, as_json: AsJson = False) -> None:
    """List the windows of a model, oldest first, the open one last."""
    with connect(home, url) as client:
        found = client.windows(model)
    if as_json:
        output.print_json({"items": found, "next_page_token": None})
        return
    columns = (
        "window",
        "state",
        "rows",
        "pseudo-labelled",
        "refused",
        "labelled",
        "drift",
        "closed by",
        "closed",
        "runs",
    )
    numbers = ("rows", "rows_pseudo_labelled", "rows_refused", "rows_labelled")
    paths = ("id", "state", *numbers, "drift.kind", "closed_by", "closed_at", "runs")
    rows = [output.pick(window, *paths) for window in found]
    output.print_table(
        output.table(None, columns, rows, right=("rows", "pseudo-labelled", "refused", "labelled"))
    )


def quarantine(
    model: Model,
    window: Window,
    reason: Reason = NO_REASON,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Exclude a window from learning."""
    with connect(home, url) as client:
        found = client.quarantine(model, window_id(client, model, window), reason)
    if as_json:
        output.print_json(found)
    else:
        print(f"{model}: window {found.get('id', window)} {found.get('state', 'quarantined')}")


def release(
    model: Model,
    window: Window,
    reason: Reason = NO_REASON,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Release a quarantined window for learning."""
    with connect(home, url) as client:
        found = client.release(model, window_id(client, model, window), reason)
    if as_json:
        output.print_json(found)
    else:
        print(f"{model}: window {found.get('id', window)} {found.get('state', 'released')}")
