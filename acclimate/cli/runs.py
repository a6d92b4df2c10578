"""The commands about runs: retrain, list, show, logs, cancel, retry."""

from __future__ import annotations

from typing import Annotated

import typer

from acclimate.cli import output
from acclimate.cli.connection import connect
from acclimate.cli.following import follow
from acclimate.cli.names import run_id
from acclimate.cli.options import AsJson, Home, Model, Url
from acclimate.client.errors import Json

EXIT_CODES = {"succeeded": 0, "rejected": 3}
"""Exit code of a command that waited for a run, by its final state; else 1."""
SHOWN_APART = ("timestamp", "level", "attempt", "event", "run", "process")

Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="Id of the run, or latest; with --model also champion, previous."
    ),
]
OfModel = Annotated[str | None, typer.Option("--model", "-m", help="Only runs of this model.")]
Follow = Annotated[
    bool,
    typer.Option(
        "--follow", "--wait", help="Show the stages until the run ends; Ctrl-C does not cancel it."
    ),
]


def retrain(
    model: Model,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be learnt and what refused.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Reason, for the run's record.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="Recipe to use instead of the policy's.")
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option("--window", help="Closed window to learn from again; may be repeated."),
    ] = None,
    follow_it: Follow = False,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Close the open window and start a run that learns from it. With --follow exit 3 when the run
    was rejected.
    """
    with connect(home, url) as client:
        run = client.start_run(
            model, reason=reason, recipe=recipe, windows=window or (), dry_run=dry_run
        )
        if follow_it and not dry_run:
            run = follow(client, run["id"], home)
    if as_json:
        output.print_json(run)
    elif dry_run:
        output.print_fields(run)
    else:
        print_run(run)
    if follow_it and not dry_run:
        end(run)


def list_(
    model: Annotated[str | None, typer.Argument(help="Only runs of this model.")] = None,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List the runs, newest first."""
    with connect(home, url) as client:
        found = sorted(
            client.runs(model=model), key=lambda run: str(run["created_at"]), reverse=True
        )
    if as_json:
        output.print_json({"items": found, "next_page_token": None})
        return
    columns = ("run", "model", "state", "stage", "trigger", "version", "rows", "took", "detail")
    paths = ("id", "model", "state", "stage", "trigger", "version", "window.rows")
    rows = [[*output.pick(run, *paths), output.elapsed(run), run.get("detail")] for run in found]
    output.print_table(output.table(None, columns, rows, right=("rows",)))


def show(
    run: Run = "latest",
    model: OfModel = None,
    follow_it: Follow = False,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show one run with its gates. With --follow exit 3 when it was rejected."""
    with connect(home, url) as client:
        id_ = run_id(client, run, model)
        found = follow(client, id_, home) if follow_it else client.run(id_)
    if as_json:
        output.print_json(found)
    else:
        print_run(found)
    if follow_it:
        end(found)


def logs(
    run: Run = "latest",
    model: OfModel = None,
    attempt: Annotated[
        int | None, typer.Option("--attempt", min=1, help="Only lines of this attempt.")
    ] = None,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show the log lines of every attempt of a run, killed attempts included."""
    with connect(home, url) as client:
        found = client.logs(run_id(client, run, model), attempt=attempt)
    if as_json:
        output.print_json(found)
        return
    for line in found:
        rest = " ".join(
            f"{name}={value}"
            for name, value in line.items()
            if name not in SHOWN_APART and not isinstance(value, (list, dict))
        )
        print(*(line.get(name, "") for name in ("timestamp", "level", "attempt", "event")), rest)


def cancel(
    run: Run = "latest",
    model: OfModel = None,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a run; the champion does not change."""
    with connect(home, url) as client:
        found = client.cancel(run_id(client, run, model))
    if as_json:
        output.print_json(found)
    else:
        print_run(found)


def retry(
    run: Run = "latest",
    model: OfModel = None,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Start a new run over the same windows."""
    with connect(home, url) as client:
        found = client.retry(run_id(client, run, model))
    if as_json:
        output.print_json(found)
    else:
        print_run(found)


def end(run: Json) -> None:
    """Exit with the code of the run's final state."""
    raise typer.Exit(EXIT_CODES.get(run["state"], 1))


def print_run(run: Json) -> None:
    """Print the run and its gates on stdout."""
    window = run.get("window") or {}
    output.print_fields(
        {
            "run": run["id"],
            "model": run.get("model"),
            "state": run["state"],
            "detail": run.get("detail"),
            "stage": run.get("stage"),
            "trigger": run.get("trigger"),
            "reason": run.get("reason"),
            "version": run.get("version"),
            "evidence": run.get("evidence"),
            "window": window.get("id"),
            "rows": window.get("rows"),
            "pseudo-labelled": window.get("rows_pseudo_labelled"),
            "refused": window.get("refused"),
            "labelled": window.get("rows_labelled"),
            "taught": window.get("rows_taught"),
            "drift": (run.get("drift") or {}).get("kind"),
            "took": output.elapsed(run) if run.get("started_at") else None,
        }
    )
    if run.get("gates"):
        rows = [
            (gate["gate"], gate["value"], gate["limit"], gate["n"], verdict(gate))
            for gate in run["gates"]
        ]
        output.print_table(
            output.table(
                None,
                ("gate", "value", "limit", "n", "verdict"),
                rows,
                right=("value", "limit", "n"),
            )
        )


def verdict(gate: Json) -> str:
    """The verdict of a gate, marked as information when it does not bind."""
    return str(gate["verdict"]) + ("" if gate.get("binds", True) else " (information)")
