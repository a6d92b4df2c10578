"""The command line: the function of each command, and the exit code of each error."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from acclimate.cli import (
    audit,
    doctor,
    keys,
    models,
    output,
    processes,
    rows,
    rules,
    runs,
    versions,
    windows,
)
from acclimate.client.errors import (
    AccessError,
    ClientError,
    ConflictError,
    NotFoundError,
    PreconditionError,
    UnreachableError,
)

FAILED, USAGE, CONFLICT, ACCESS, UNREACHABLE, INTERRUPTED = 1, 2, 4, 5, 6, 130
ABOUT = """A served classifier that keeps learning from its own unlabeled traffic.

The service is named by --home, or by ACCLIMATE_URL and ACCLIMATE_API_KEY.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 run rejected, 4 not found or conflict,
5 key refused, 6 unreachable, 130 interrupted."""


class ListedGroup(TyperGroup):
    """A group of commands whose default is `list`: `acclimate runs` is `acclimate runs list`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def build() -> typer.Typer:
    """The command line with all its commands."""
    app = typer.Typer(
        help=ABOUT, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    _add(app, processes.up, doctor.doctor)
    _add(app, processes.serve, processes.worker, processes.beat, processes.migrate, pass_on=True)
    _add(
        app, models.create, models.status, models.pause, models.resume, models.delete, runs.retrain
    )
    _add(app, rows.predict, rows.feedback, rows.label_queue)
    _add(
        app,
        versions.promote,
        versions.rollback,
        rules.gates,
        rules.policy,
        rules.drift,
        rules.calibration,
    )
    verbs = (runs.list_, runs.show, runs.logs, runs.cancel, runs.retry)
    _add_group(app, "runs", "Runs: list, show, logs, cancel, retry.", *verbs)
    _add_group(app, "versions", "Versions: list, show.", versions.list_, versions.show)
    _add_group(
        app,
        "windows",
        "Windows: list, quarantine, release.",
        windows.list_,
        windows.quarantine,
        windows.release,
    )
    _add_group(app, "keys", "Keys: list, create, revoke.", keys.list_, keys.create, keys.revoke)
    _add_group(app, "audit", "Audit log: list, verify.", audit.list_, audit.verify)
    _add_show(app)
    return app


def main() -> None:
    """Run the command in `sys.argv` and exit with its code.

    An error is one message on stderr, without a traceback.
    """
    try:
        build()(prog_name="acclimate")
    except ClientError as error:
        output.say(f"acclimate: {error}")
        sys.exit(exit_code(error))
    except (OSError, UnicodeDecodeError) as error:
        output.say(f"acclimate: {error}")
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def exit_code(error: ClientError) -> int:
    """The exit code for an error of the client."""
    if isinstance(error, UnreachableError):
        return UNREACHABLE
    if isinstance(error, AccessError):
        return ACCESS
    if isinstance(error, (NotFoundError, ConflictError, PreconditionError)):
        return CONFLICT
    return FAILED


def _add(app: typer.Typer, *commands: Callable[..., None], pass_on: bool = False) -> None:
    for command in commands:
        settings = processes.PASS_ON if pass_on and command is not processes.migrate else None
        app.command(command.__name__.strip("_").replace("_", "-"), context_settings=settings)(
            command
        )


def _add_group(app: typer.Typer, name: str, about: str, *commands: Callable[..., None]) -> None:
    group = typer.Typer(cls=ListedGroup, help=about, rich_markup_mode=None)
    _add(group, *commands)
    app.add_typer(group, name=name)


def _add_show(app: typer.Typer) -> None:
    from acclimate.cli.demo import demo
    from acclimate.cli.play import play

    _add(app, play, demo)


if __name__ == "__main__":
    main()
