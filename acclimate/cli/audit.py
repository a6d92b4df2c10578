"""The commands about who did what when: the audit log, and whether it is whole."""

from __future__ import annotations

from typing import Annotated

import typer

from acclimate.cli import output
from acclimate.cli.connection import connect
from acclimate.cli.options import AsJson, Home, Url


def list_(home: Home = None, url: Url = None, as_json: AsJson = False) -> None:
    """Who did what when, oldest first as the service keeps it."""
    with connect(home, url) as client:
        found = client.audit()
    if as_json:
        output.print_json({"items": found, "next_page_token": None})
        return
    columns = ("at", "actor", "action", "target", "content")
    output.print_table(
        output.table(None, columns, [output.pick(entry, *columns) for entry in found])
    )


def verify(
    expect: Annotated[
        str | None,
        typer.Option(
            "--expect", metavar="HASH", help="The head that was printed before, kept elsewhere."
        ),
    ] = None,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Hold every entry against its hash and the one before it; exit 1 when one was changed or taken
    away.
    """
    with connect(home, url) as client:
        found = client.verify_audit(expect=expect)
    if as_json:
        output.print_json(found)
    elif found["broken"] is not None:
        print(
            f"entry {found['broken']} is not what was written, or does not follow the one before it"
        )
    elif not found["seen"]:
        print(f"no entry has the hash {expect}: the log was cut off or written anew")
    else:
        print(f"{found['entries']} entries, each as it was written; head {found['head']}")
    if not found["intact"]:
        raise typer.Exit(1)
