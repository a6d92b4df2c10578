"""The options and arguments that several commands share."""

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
        help="Home of a running `acclimate up`, whose url and admin.key are used.",
    ),
]
Url = Annotated[
    str | None,
    typer.Option("--url", help="Address of the service; default ACCLIMATE_URL, else the home's."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the JSON of the API.")]
Reason = Annotated[str, typer.Option("--reason", help="Reason, for the audit log.")]
Rejects = Annotated[
    Path | None,
    typer.Option(
        "--rejects", metavar="FILE", help="File for refused rows, one JSON object per line."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

NO_REASON = "requested on the command line"
