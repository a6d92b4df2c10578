"""The commands about the audit log: list, verify."""

from __future__ import annotations

from typing import Annotated

import typer

from acclimate.cli import output
from acclimate.cli.connection import connect
from acclimate.cli.options import AsJson, Home, Url


def list_(home: Home = None, url: Url = None, as_json: AsJson = False) -> None:
    """List the audit log, oldest first."""
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
            "--expect", metavar="HASH", help="A head that was printed before and stored elsewhere."
        ),
    ] = None,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Verify the hash chain of the audit log. Exit 1 when an entry was changed or removed."""
    with connect(home, url) as client:
        found = client.verify_audit(expect=expect)
    if as_json:
        output.print_json(found)
    elif found["broken"] is not None:
        print(f"entry {found['broken']} was changed, or does not follow from the entry before it")
    elif not found["seen"]:
        print(f"no entry has the hash {expect}: entries were removed, or the log was rewritten")
    else:
        print(f"{found['entries']} entries, none changed; head {found['head']}")
    if not found["intact"]:
        raise typer.Exit(1)
