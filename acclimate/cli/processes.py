"""The commands that run the service: all of it, or one of its processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Unknown arguments are passed on to the process."""


def up(
    home: Annotated[
        Path | None,
        typer.Option(
            "--home",
            metavar="DIR",
            help="Folder for all files (ACCLIMATE_HOME or .acclimate).",
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=65_535, help="Port to listen on; 0 selects a free one."),
    ] = 8000,
    replicas: Annotated[
        int, typer.Option("--replicas", min=1, help="Number of API processes.")
    ] = 1,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Number of worker processes.")
    ] = 1,
) -> None:
    """Run the whole service on this machine: database, broker, API, worker, beat. Prints `ready
    URL`; Ctrl-C stops it.
    """
    from acclimate.settings import client_settings
    from acclimate.supervisor import run

    raise typer.Exit(
        run(
            home=home or client_settings().home,
            host=host,
            port=port,
            replicas=replicas,
            workers=workers,
        )
    )


def serve(context: typer.Context) -> None:
    """Run one API process; its settings come from the environment."""
    become("service.app", *context.args)


def worker(context: typer.Context) -> None:
    """Run one worker; its settings come from the environment."""
    become("workers.app", "worker", *context.args)


def beat(context: typer.Context) -> None:
    """Run the scheduler of periodic tasks, which closes windows on schedule and notifies workers of
    waiting runs again; its settings come from the environment.
    """
    become("workers.app", "beat", *context.args)


def migrate(
    admin_key: Annotated[
        Path | None,
        typer.Option(
            "--admin-key",
            metavar="FILE",
            help="Also create an admin key and write it to this file (mode 600).",
        ),
    ] = None,
) -> None:
    """Migrate the database to the schema of this version."""
    become("migrations.run", *(() if admin_key is None else ("--admin-key", str(admin_key))))


def become(module: str, *arguments: str) -> None:
    """Replace this process by `python -m module`; the command line imports no server module."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
