"""Plays a labeled stream as unlabeled traffic: predict, score with the withheld labels, learn."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.cli import portions, scoring
from acclimate.cli.following import watch
from acclimate.cli.scoring import Played
from acclimate.client.errors import FileError, NotEnoughRowsError, NotFoundError, RunActiveError
from acclimate.client.http import Client

LABELS_AT_ONCE = 5000
SERVED_SECONDS = 5.0
"""The longest wait after a run, in seconds, until every replica serves the new champion."""

Say = Callable[[str, int, int], None]
"""Called with the current activity, the amount done, and the total."""


@dataclass(frozen=True, kw_only=True)
class LabeledStream:
    """Rows x, classes y (N,), window numbers t (N,), and the marks of unusual windows by number.

    x (N, *shape) is float32, or whole numbers in the type of the file, or text: a unicode array
    (N,) or (N, 1).
    """

    x: NDArray[Any]
    y: NDArray[Any]
    t: NDArray[Any]
    marks: dict[int, str]

    def windows(self) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
        """Number, x and y of each window, ascending by number; rows keep their order."""
        for window in np.unique(self.t).tolist():
            rows = self.t == window
            yield int(window), self.x[rows], self.y[rows]


def read(path: Path) -> LabeledStream:
    """The stream in an .npz file: arrays x, y, t, and optionally `meta`, JSON with the `marks`.

    Raises `FileError`.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError) as error:
        raise FileError(f"{path}: not an .npz file, or one with Python objects: {error}") from None
    missing = [name for name in ("x", "y", "t") if name not in held]
    if missing:
        raise FileError(
            f"{path}: lacks {', '.join(missing)}; a stream has rows x, classes y and window "
            f"numbers t"
        )
    if not len(held["x"]) == len(held["y"]) == len(held["t"]):
        lengths = ", ".join(f"{name} {len(held[name])}" for name in ("x", "y", "t"))
        raise FileError(f"{path}: x, y and t differ in length: {lengths}")
    try:
        marks = json.loads(held["meta"].item()).get("marks", {}) if "meta" in held else {}
        named = {int(window): str(text) for window, text in marks.items()}
    except (ValueError, AttributeError, TypeError):
        raise FileError(f'{path}: meta is not JSON such as {{"marks": {{"4": "why"}}}}') from None
    return LabeledStream(x=_inputs(path, held["x"]), y=held["y"], t=held["t"], marks=named)


def _inputs(path: Path, x: NDArray[Any]) -> NDArray[Any]:
    if x.dtype.kind in "iu":  # ids of a sequence must stay exact
        return x
    if x.dtype.kind == "f":
        return x.astype(np.float32)
    if x.dtype.kind != "U":
        raise FileError(f"{path}: x is {x.dtype}; a stream has numbers, or text as a unicode array")
    for row, text in enumerate(x.reshape(-1).tolist()):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise FileError(f"{path}: row {row} of x is not text in UTF-8") from None
    return x


def play(
    client: Client, model: str, stream: LabeledStream, *, audit: int = 0, say: Say
) -> Iterator[Played]:
    """Play the windows in order; yields each when its run has ended and its champion is served.

    Args:
        audit: how many random rows per window get their true label as feedback before the run.
        say: shows the progress.

    Raises what the client raises.
    """
    rng = np.random.default_rng(0)
    for window, x, y in stream.windows():
        before = str(client.model(model)["champion"])
        answers, addresses = _predict(client, model, x, say, f"window {window}: rows")
        frozen = _predict_anchor(client, model, x)
        if audit:
            _send_labels(client, model, addresses, y, rng.permutation(len(y))[:audit])
        run = _learn(client, model, f"window {window}", say)
        classes = np.array([answer["class"] for answer in answers])
        yield Played(
            window=window,
            rows=len(x),
            served_accuracy=scoring.accuracy(classes, y),
            frozen_accuracy=scoring.accuracy(frozen, y),
            ece=scoring.calibration_error(
                [answer["confidence"] for answer in answers], classes == y
            ),
            run=run.get("id"),
            state=run.get("state"),
            detail=run.get("detail"),
            version_before=before,
            version_after=str(client.model(model)["champion"]),
            mark=stream.marks.get(window),
        )


def _predict(
    client: Client, model: str, x: NDArray[Any], say: Say, what: str
) -> tuple[list[dict[str, Any]], list[tuple[str, int]]]:
    """The champion's predictions, and each row's address in the log: (prediction id, index)."""
    answers: list[dict[str, Any]] = []
    addresses: list[tuple[str, int]] = []
    for request in portions.cut(x):
        reply = client.predict(model, x[request])
        answers += reply["predictions"]
        addresses += [(reply["id"], index) for index in range(len(reply["predictions"]))]
        say(what, len(answers), len(x))
    return answers, addresses


def _predict_anchor(client: Client, model: str, x: NDArray[Any]) -> NDArray[Any]:
    """The classes (N,) that version 1 predicts for the rows, which are not logged."""
    classes: list[int] = []
    for request in portions.cut(x):
        reply = client.infer(
            model, x[request], version="1", parameters={"log": False}, outputs=("class",)
        )
        classes += next(output["data"] for output in reply["outputs"] if output["name"] == "class")
    return np.array(classes)


def _send_labels(
    client: Client,
    model: str,
    addresses: list[tuple[str, int]],
    y: NDArray[Any],
    chosen: NDArray[np.int64],
) -> None:
    """Send the true labels of the chosen rows; a negative class is sent as none of the classes."""
    labels = [
        {
            "prediction_id": addresses[index][0],
            "row": addresses[index][1],
            "label": int(y[index]) if y[index] >= 0 else None,
            "source": "audit",
        }
        for index in chosen.tolist()
    ]
    for start in range(0, len(labels), LABELS_AT_ONCE):
        client.feedback(model, labels[start : start + LABELS_AT_ONCE])


def _learn(client: Client, model: str, reason: str, say: Say) -> dict[str, Any]:
    """The ended run over the open window; only a `detail` when it has too few rows."""
    while True:
        say(f"{reason}: closing", 0, 0)
        try:
            run = client.start_run(model, reason=reason)
        except RunActiveError as active:
            _wait_for_other(client, active.run, say)
            continue
        except NotEnoughRowsError as few:
            return {"detail": f"not enough rows: {few.rows} of {few.needed}"}
        run = watch(
            client,
            run["id"],
            lambda run: say(f"{reason}: {run['stage'] or run['state']}", *_done(run)),
        )
        return _wait_until_served(client, run)


def _wait_for_other(client: Client, run: str | None, say: Say) -> None:
    say("another run is active", 0, 0)
    if run is None:
        time.sleep(1.0)
        return
    try:
        watch(client, run, lambda _: None)
    except NotFoundError:
        time.sleep(1.0)


def _wait_until_served(client: Client, run: dict[str, Any]) -> dict[str, Any]:
    end = time.monotonic() + SERVED_SECONDS
    while run["state"] == "succeeded" and not run.get("served_at") and time.monotonic() < end:
        time.sleep(0.1)
        run = client.run(run["id"])
    return run


def _done(run: dict[str, Any]) -> tuple[int, int]:
    progress = run.get("progress") or {}
    return int(progress.get("done") or 0), int(progress.get("total") or 0)
