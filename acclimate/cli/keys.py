"""The commands about keys: list, create, revoke."""

from __future__ import annotations

from typing import Annotated

import typer

from acclimate.cli import output
from acclimate.cli.connection import connect
from acclimate.cli.options import AsJson, Home, Url

SCOPES = ("predict", "feedback", "view", "operate", "admin")


def list_(home: Home = None, url: Url = None, as_json: AsJson = False) -> None:
    """List the keys, without their secrets."""
    with connect(home, url) as client:
        found = client.keys()
    if as_json:
        output.print_json({"items": found, "next_page_token": None})
        return
    columns = ("id", "name", "scopes", "created", "revoked")
    rows = [output.pick(key, "id", "name", "scopes", "created_at", "revoked_at") for key in found]
    output.print_table(output.table(None, columns, rows))


def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[
        list[str],
        typer.Option("--scope", "-s", help=f"One of {', '.join(SCOPES)}; may be repeated."),
    ],
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Create a key. Its secret is printed once and not stored."""
    scopes = [part.strip() for given in scope for part in given.split(",") if part.strip()]
    with connect(home, url) as client:
        found = client.create_key(name, scopes)
    if as_json:
        output.print_json(found)
    else:
        output.say(f"key {found['id']} for {name}, with {', '.join(scopes)}; shown only once:")
        print(found["key"])


def revoke(
    key: Annotated[
        str, typer.Argument(metavar="ID", help="Id of the key, as `acclimate keys list` shows it.")
    ],
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a key. A replica that accepted it recently may accept it for another 30 seconds."""
    with connect(home, url) as client:
        client.revoke_key(key)
    if as_json:
        output.print_json({"id": key, "revoked": True})
    else:
        print(f"key {key} revoked")
