"""The commands about versions: list, show, promote, rollback."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from acclimate.cli import output
from acclimate.cli.connection import connect
from acclimate.cli.names import version_id
from acclimate.cli.options import NO_REASON, AsJson, Home, Model, Reason, Url, Yes

Version = Annotated[
    str,
    typer.Argument(
        metavar="VERSION",
        help="Number, or latest, champion, previous, challenger, anchor, learner, proved.",
    ),
]


def list_(model: Model, home: Home = None, url: Url = None, as_json: AsJson = False) -> None:
    """List the versions of a model."""
    with connect(home, url) as client:
        found = client.versions(model)
    if as_json:
        output.print_json({"items": found, "next_page_token": None})
        return
    columns = (
        "version",
        "state",
        "mode",
        "aliases",
        "parent",
        "run",
        "windows",
        "evidence",
        "created",
    )
    rows = [output.pick(version, *columns[:-1], "created_at") for version in found]
    output.print_table(output.table(None, columns, rows))


def show(
    model: Model,
    version: Version = "champion",
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show one version: parent, run, windows, gates, promotions."""
    with connect(home, url) as client:
        found = client.version(model, version_id(client, model, version))
    if as_json:
        output.print_json(found)
    else:
        output.print_fields(found)


def promote(
    model: Model,
    version: Version,
    reason: Reason = NO_REASON,
    override: Annotated[
        bool,
        typer.Option("--override", help="Promote in spite of a failed gate; this is recorded."),
    ] = False,
    yes: Yes = False,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Promote a version to champion. Exit 4 when it failed a gate, or when the champion changed
    concurrently.
    """
    with connect(home, url) as client:
        alias, etag = client.alias(model, "champion")
        to = version_id(client, model, version)
        _ask(f"{model}: serve version {to} instead of {alias.get('version')}?", yes)
        found = client.promote(model, to, reason, override=override, etag=etag)
    _say_served(model, found, to, as_json)


def rollback(
    model: Model,
    to: Annotated[
        str | None,
        typer.Argument(metavar="[VERSION]", help="The earlier version; default the previous one."),
    ] = None,
    reason: Reason = NO_REASON,
    keep_learning: Annotated[
        bool, typer.Option("--keep-learning", help="Do not pause learning.")
    ] = False,
    yes: Yes = False,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier version champion again and pause learning, so that the next run does not
    promote the same change again.
    """
    with connect(home, url) as client:
        version = version_id(client, model, to) if to else None
        _ask(
            f"{model}: roll back to {f'version {version}' if version else 'the previous version'}?",
            yes,
        )
        found = client.rollback(
            model, reason, to=version, pause_learning=False if keep_learning else None
        )
    _say_served(model, found, version, as_json)


def _say_served(model: str, promotion: dict[str, Any], version: str | None, as_json: bool) -> None:
    if as_json:
        output.print_json(promotion)
    else:
        print(
            f"{model}: version {promotion.get('to') or promotion.get('version') or version} is "
            f"the champion"
        )


def _ask(question: str, yes: bool) -> None:
    """Ask for confirmation on a terminal; exit 1 when it is declined."""
    if not yes and sys.stdin.isatty() and sys.stdout.isatty() and not typer.confirm(question):
        raise typer.Exit(1)
