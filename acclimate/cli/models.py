"""The commands about models: create, status, pause, resume, delete."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table

from acclimate.cli import output
from acclimate.cli.connection import connect
from acclimate.cli.following import follow
from acclimate.cli.options import NO_REASON, AsJson, Home, Model, Reason, Url, Yes
from acclimate.cli.runs import end

HEALTH_STATES = ("healthy", "learning", "safe")
WATCH_SECONDS = 2.0


def create(
    spec: Annotated[
        Path,
        typer.Argument(metavar="SPEC.toml", help="The model's spec; its paths are relative to it."),
    ],
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the run until version 1 is the champion.")
    ] = False,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Register a model with its seed set, and start the run that trains version 1, the anchor."""
    with connect(home, url) as client:
        run = client.create(spec)
        if wait:
            run = follow(client, run["id"], home)
        if as_json:
            output.print_json(run)
        else:
            print(
                f"model {run['model']}: run {run['id']} {run['state']}"
                + (f": {run['detail']}" if run.get("detail") else "")
            )
    if wait:
        end(run)


def delete(
    model: Model,
    version: Annotated[
        str | None,
        typer.Option(
            "--version",
            metavar="V",
            help="Only this version, which no alias names.",
        ),
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(
            "--subject", metavar="S", help="Only the logged rows and labels of this data subject."
        ),
    ] = None,
    yes: Yes = False,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Delete a model with its versions, logged rows, labels and runs; or one version; or the rows
    of a data subject. Asks for confirmation on a terminal; elsewhere needs --yes.
    """
    if version and subject:
        output.say("acclimate: give either --version or --subject, not both")
        raise typer.Exit(2)
    if subject:
        what = f"the rows and labels of {subject} in {model}"
    elif version:
        what = f"version {version} of {model}"
    else:
        what = f"{model} with all its versions, logged rows, labels and runs"
    if not yes:
        _confirm(what)
    deleted: dict[str, Any] = {"model": model, "version": version, "deleted": True}
    with connect(home, url) as client:
        if subject:
            deleted = client.erase_subject(model, subject)
        elif version:
            client.delete_version(model, version)
        else:
            client.delete(model)
    if as_json:
        output.print_json(deleted)
        return
    print(f"deleted {what}")
    if subject:
        versions = ", ".join(deleted["versions"])
        learnt = f"learnt by version {versions}" if versions else "learnt by no version"
        print(f"{deleted['rows']} rows so far, {learnt}")


def _confirm(what: str) -> None:
    """Ask before a deletion on a terminal. Exits 1 when it is declined, and 2 elsewhere."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        output.say(f"acclimate: this would permanently delete {what}: confirm with --yes")
        raise typer.Exit(2)
    if not typer.confirm(f"Permanently delete {what}?"):
        raise typer.Exit(1)


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every two seconds.")] = False,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show the three health states with their reasons, the champions and the active runs. Exit 0
    only when all three are ok.
    """
    with connect(home, url, patience=0.0) as client:
        found = client.status()
        if watch and sys.stdout.isatty() and not as_json:
            with Live(status_view(found), refresh_per_second=4) as live:
                while True:
                    time.sleep(WATCH_SECONDS)
                    live.update(status_view(client.status()))
        while True:
            if as_json:
                output.print_json(found)
            else:
                for part in status_tables(found):
                    output.print_table(part)
            if not watch:
                break
            time.sleep(WATCH_SECONDS)
            found = client.status()
    raise typer.Exit(0 if all(found[name]["state"] == "ok" for name in HEALTH_STATES) else 1)


def pause(
    model: Model,
    reason: Reason = NO_REASON,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Pause learning; serving continues."""
    _set_learning(model, "paused", reason, home, url, as_json)


def resume(
    model: Model,
    reason: Reason = NO_REASON,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Resume learning."""
    _set_learning(model, "on", reason, home, url, as_json)


def _set_learning(
    model: str, state: str, reason: str, home: Path | None, url: str | None, as_json: bool
) -> None:
    with connect(home, url) as client:
        found = client.learning(model, state, reason)
    if as_json:
        output.print_json(found)
    else:
        print(f"{model}: learning {found.get('learning', state)}")


def status_view(status: dict[str, Any]) -> Group:
    """The tables of a status, in one group."""
    return Group(*status_tables(status))


def status_tables(status: dict[str, Any]) -> Iterator[Table]:
    """The table of the health states, and that of the models when there are any."""
    states = [
        (name, status[name]["state"], "; ".join(status[name].get("reasons") or []))
        for name in HEALTH_STATES
    ]
    yield output.table(None, ("health", "state", "reasons"), states)
    if status.get("models"):
        columns = ("model", *HEALTH_STATES, "champion", "active run")
        rows = [
            (
                model["name"],
                *(_state(model[name]) for name in HEALTH_STATES),
                model.get("champion"),
                _id(model.get("active_run")),
            )
            for model in status["models"]
        ]
        yield output.table(None, columns, rows)


def _state(health: Any) -> Any:
    return health.get("state") if isinstance(health, dict) else health


def _id(run: Any) -> Any:
    return run.get("id") if isinstance(run, dict) else run
