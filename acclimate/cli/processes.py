"""The commands that are the service: all of it, or one process of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
"""What a command does not know goes on to the process it becomes."""


def up(
    home: Annotated[
        Path | None,
        typer.Option(
            "--home",
            metavar="DIR",
            help="Folder of everything it keeps (ACCLIMATE_HOME or .acclimate).",
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=65_535, help="Port to listen on; 0 takes a free one."),
    ] = 8000,
    replicas: Annotated[int, typer.Option("--replicas", min=1, help="API processes.")] = 1,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Worker processes.")] = 1,
) -> None:
    """Start all of it on this machine: database, broker, API, worker, beat. Prints `ready URL`;
    Ctrl-C stops it.
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
    """Become one API process; settings from the environment."""
    become("service.app", *context.args)


def worker(context: typer.Context) -> None:
    """Become one worker; settings from the environment."""
    become("workers.app", "worker", *context.args)


def beat(context: typer.Context) -> None:
    """Become the beat, which closes windows by schedule and rings lost runs again; settings from
    the environment.
    """
    become("workers.app", "beat", *context.args)


def migrate(
    admin_key: Annotated[
        Path | None,
        typer.Option(
            "--admin-key",
            metavar="FILE",
            help="Also make an admin key and write it here (mode 600).",
        ),
    ] = None,
) -> None:
    """Bring the database to this version's tables."""
    become("migrations.run", *(() if admin_key is None else ("--admin-key", str(admin_key))))


def become(module: str, *arguments: str) -> None:
    """Replace this process by a module's; the command line imports none of them."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
