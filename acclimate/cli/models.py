"""The commands about models as a whole: create, status, pause, resume, delete."""

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

LAMPS = ("healthy", "learning", "safe")
WATCH_SECONDS = 2.0


def create(
    spec: Annotated[
        Path,
        typer.Argument(
            metavar="SPEC.toml", help="The model's spec; its seed set is read beside it."
        ),
    ],
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the run until version 1 is the champion.")
    ] = False,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Register a model with its seed set; version 1, the anchor, is trained by an ordinary run."""
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
            help="Only this version: neither champion, previous nor anchor.",
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
    """Delete a model with its versions, logged rows, labels and runs; or one version; or a data
    subject's rows. Asks first; elsewhere needs --yes.
    """
    if version and subject:
        output.say("acclimate: say --version or --subject, one of them")
        raise typer.Exit(2)
    what = f"{model} with all its versions, logged rows, labels and runs"
    if version or subject:
        what = (
            f"version {version} of {model}"
            if version
            else f"the rows and labels of {subject} in {model}"
        )
    if not yes:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            output.say(f"acclimate: this would delete {what}, for good: say --yes")
            raise typer.Exit(2)
        if not typer.confirm(f"Delete {what}, for good?"):
            raise typer.Exit(1)
    with connect(home, url) as client:
        if subject:
            erased = client.erase_subject(model, subject)
        elif version:
            client.delete_version(model, version)
        else:
            client.delete(model)
    if as_json:
        output.print_json(
            erased if subject else {"model": model, "version": version, "deleted": True}
        )
    else:
        print(f"deleted {what}")
        if subject:
            saw = (
                f"seen by version {', '.join(erased['versions'])}"
                if erased["versions"]
                else "seen by no version"
            )
            print(f"{erased['rows']} rows so far, {saw}")


def status(
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every two seconds.")
    ] = False,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """The three lamps with their reasons, champions, active runs. Exit 0 only when all lamps are
    ok.
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
    raise typer.Exit(0 if all(found[lamp]["state"] == "ok" for lamp in LAMPS) else 1)


def pause(
    model: Model,
    reason: Reason = NO_REASON,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Stop learning; serving goes on."""
    _set_learning(model, "paused", reason, home, url, as_json)


def resume(
    model: Model,
    reason: Reason = NO_REASON,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Let the model learn again."""
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
    """The tables of a status as one thing to show."""
    return Group(*status_tables(status))


def status_tables(status: dict[str, Any]) -> Iterator[Table]:
    """The lamps, and the models when there are any."""
    lamps = [
        (lamp, status[lamp]["state"], "; ".join(status[lamp].get("reasons") or []))
        for lamp in LAMPS
    ]
    yield output.table(None, ("lamp", "state", "why"), lamps)
    if status.get("models"):
        columns = ("model", *LAMPS, "champion", "active run")
        rows = [
            (
                model["name"],
                *(_state(model[lamp]) for lamp in LAMPS),
                model.get("champion"),
                _id(model.get("active_run")),
            )
            for model in status["models"]
        ]
        yield output.table(None, columns, rows)


def _state(lamp: Any) -> Any:
    return lamp.get("state") if isinstance(lamp, dict) else lamp


def _id(run: Any) -> Any:
    return run.get("id") if isinstance(run, dict) else run
