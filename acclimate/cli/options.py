"""The options and arguments that many commands share, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(help="Name of the model.")]
Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="Home of a running `acclimate up`: its url and admin.key are used.",
    ),
]
Url = Annotated[
    str | None,
    typer.Option("--url", help="Address of the service; else ACCLIMATE_URL, else the home's."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the API's own JSON.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the audit log.")]
Rejects = Annotated[
    Path | None,
    typer.Option(
        "--rejects", metavar="FILE", help="Write refused rows here, one JSON object a line."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask on a terminal.")]

NO_REASON = "asked for on the command line"
