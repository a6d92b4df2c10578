"""The commands about rows: predict, label-queue, feedback."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from acclimate.cli import output
from acclimate.cli.connection import connect
from acclimate.cli.options import AsJson, Home, Model, Rejects, Url
from acclimate.client.errors import InvalidError, Json
from acclimate.client.http import Client

LABELS_AT_ONCE = 5000
SECONDS_A_LINE = 10.0
ROW_POINTER = re.compile(r"#?/rows/(\d+)")

File = Annotated[Path, typer.Argument(metavar="FILE", help="csv, npy, npz, parquet or jsonl.")]


def predict(
    model: Model,
    file: File,
    rejects: Rejects = None,
    log: Annotated[
        bool, typer.Option("--log/--no-log", help="Whether the rows may be logged and learnt from.")
    ] = True,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Predict every row of a file with the champion. Prints csv, or one JSON object per row. Exit 1
    when rows were refused.
    """
    from acclimate.cli import files, portions

    with connect(home, url) as client:
        about = client.model(model)
        rows = files.read_rows(file, about["kind"])
        good, refused = _sort(rows, about)
        write = _json_writer() if as_json else _csv_writer()
        with _progress(f"{model}: rows", len(good)) as tick:
            for request in portions.cut([row for _, row in good]):
                part = good[request]
                for position, answer in answers(
                    client, model, part, None if log else False, refused
                ):
                    write(position, answer)
                tick(len(part))
    _settle(refused, len(rows), rejects, "rows")


def feedback(
    model: Model,
    file: File,
    rejects: Rejects = None,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Send the labels in a file with the columns prediction_id, row, label or right (true, false),
    and optionally source and label_time. Exit 1 when some were refused.
    """
    from acclimate.cli import files

    labels = files.read_labels(file)
    total: Json = {"accepted": 0, "duplicates": 0, "rejected": []}
    with connect(home, url) as client, _progress(f"{model}: labels", len(labels)) as tick:
        for start in range(0, len(labels), LABELS_AT_ONCE):
            part = labels[start : start + LABELS_AT_ONCE]
            reply = client.feedback(model, part)
            total["accepted"] += reply["accepted"]
            total["duplicates"] += reply["duplicates"]
            total["rejected"] += [
                {**entry, "index": entry["index"] + start} for entry in reply["rejected"]
            ]
            tick(len(part))
    if as_json:
        output.print_json(total)
    else:
        print(
            f"accepted {total['accepted']}, duplicates {total['duplicates']}, rejected "
            f"{len(total['rejected'])}"
        )
    _settle(
        {entry["index"]: entry["reason"] for entry in total["rejected"]},
        len(labels),
        rejects,
        "labels",
    )


def label_queue(
    model: Model,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=500, help="The largest number of rows.")
    ] = 25,
    with_input: Annotated[
        bool, typer.Option("--input", help="Include the input of each row.")
    ] = False,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List rows of the open window to label; send the labels with `feedback`."""
    with connect(home, url) as client:
        found = client.label_queue(model, limit=limit, include_input=with_input)
    if as_json:
        output.print_json(found)
        return
    if found["reason"]:
        output.say(found["reason"])
    columns = [
        "prediction_id",
        "row",
        "version",
        "label",
        "confidence",
        "why",
        "value",
        "propensity",
        "logged_at",
    ]
    columns += ["input"] if with_input else []
    rows = [output.pick(item, *columns) for item in found["items"]]
    output.print_table(
        output.table(None, columns, rows, right=("row", "confidence", "value", "propensity"))
    )


def answers(
    client: Client,
    model: str,
    rows: Sequence[tuple[int, Any]],
    log: bool | None,
    refused: dict[int, str],
) -> Iterator[tuple[int, Json]]:
    """Yield the prediction of each row with its position in the file.

    The service refuses a whole request for one bad row. The rows that it names are added to
    `refused` with the reason, and the others are sent again; when it names none, all rows of the
    request are refused.

    Args:
        rows: pairs of a position in the file and a row.
        refused: reasons by position; extended here.
    """
    while rows:
        try:
            reply = client.predict(model, [row for _, row in rows], log=log)
        except InvalidError as error:
            named = {
                int(found[1])
                for problem in error.errors
                if (found := ROW_POINTER.match(problem.get("pointer", "")))
            }
            bad = named & set(range(len(rows))) or set(range(len(rows)))
            refused.update({rows[index][0]: str(error) for index in bad})
            rows = [row for index, row in enumerate(rows) if index not in bad]
            continue
        pairs = zip(rows, reply["predictions"], strict=True)
        for index, ((position, _), answer) in enumerate(pairs):
            yield (
                position,
                {"prediction_id": reply["id"], "row": index, "version": reply["version"], **answer},
            )
        return


def _sort(rows: Sequence[Any], about: Json) -> tuple[list[tuple[int, Any]], dict[int, str]]:
    from acclimate.cli import files

    good: list[tuple[int, Any]] = []
    refused: dict[int, str] = {}
    for position, row in enumerate(rows):
        fitting, problem = files.shaped(row, about["shape"], about["kind"])
        if problem is None:
            good.append((position, fitting))
        else:
            refused[position] = problem
    return good, refused


def _csv_writer() -> Any:
    columns = ("file_row", "label", "confidence", "abstain", "version", "prediction_id", "row")
    lines = csv.writer(sys.stdout, lineterminator="\n")
    lines.writerow(columns)

    def write(position: int, answer: Json) -> None:
        values = {**answer, "file_row": position, "confidence": f"{answer['confidence']:.6g}"}
        lines.writerow(
            [
                str(values.get(name, "")).lower() if name == "abstain" else values.get(name)
                for name in columns
            ]
        )

    return write


def _json_writer() -> Any:
    def write(position: int, answer: Json) -> None:
        sys.stdout.write(json.dumps({"file_row": position, **answer}, ensure_ascii=False) + "\n")

    return write


@contextmanager
def _progress(title: str, total: int) -> Iterator[Any]:
    """A progress bar on a terminal, elsewhere a line every ten seconds."""
    import time

    done = 0
    printed_at = time.monotonic()
    with output.bars() as progress:
        task = progress.add_task(title, total=total, note="")

        def tick(more: int) -> None:
            nonlocal done, printed_at
            done += more
            progress.update(task, completed=done)
            if progress.disable and time.monotonic() - printed_at >= SECONDS_A_LINE:
                printed_at = time.monotonic()
                output.say(f"{title} {done} of {total}")

        yield tick


def _settle(refused: dict[int, str], total: int, rejects: Path | None, what: str) -> None:
    """Print the number of refused rows, write them to `rejects`, and exit 1 when there are any."""
    if rejects is not None:
        with rejects.open("w", encoding="utf-8") as lines:
            _write_rejects(refused, lines)
    if refused:
        first = min(refused)
        where = f"; all are in {rejects}" if rejects else "; --rejects FILE lists them"
        output.say(
            f"{len(refused)} of {total} {what} refused, the first at {first}: "
            f"{refused[first]}{where}"
        )
        raise typer.Exit(1)


def _write_rejects(refused: dict[int, str], lines: IO[str]) -> None:
    for position, reason in sorted(refused.items()):
        lines.write(json.dumps({"row": position, "reason": reason}, ensure_ascii=False) + "\n")
