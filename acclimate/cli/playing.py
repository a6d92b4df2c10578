"""Playing a labeled stream as unlabeled traffic: ask, score against the withheld truth, let the
model learn, go on.
"""

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
"""How much longer than the run's end the next window waits for every replica to answer with the new
champion.
"""

Say = Callable[[str, int, int], None]
"""Called with what goes on, how much of it is done, and of how much."""


@dataclass(frozen=True, kw_only=True)
class LabeledStream:
    """Rows x, classes y (N,), window numbers t (N,), and what is odd about some windows.

    x (N, *shape) is float32, whole numbers as the file has them, or text: a unicode array (N,) or
    (N, 1).
    """

    x: NDArray[Any]
    y: NDArray[Any]
    t: NDArray[Any]
    marks: dict[int, str]

    def windows(self) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
        """Number, x and y of each window in the order of the numbers; rows keep their order."""
        for window in np.unique(self.t).tolist():
            rows = self.t == window
            yield int(window), self.x[rows], self.y[rows]


def read(path: Path) -> LabeledStream:
    """The stream of an .npz file: arrays x, y, t, and perhaps `meta`, JSON whose `marks` name
    windows. Raises `FileError`.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError) as error:
        raise FileError(f"{path}: not an .npz file without objects: {error}") from None
    missing = [name for name in ("x", "y", "t") if name not in held]
    if missing:
        raise FileError(
            f"{path}: lacks {', '.join(missing)}; a stream has rows x, classes y, and t "
            f"numbering the windows"
        )
    if not len(held["x"]) == len(held["y"]) == len(held["t"]):
        lengths = ", ".join(f"{name} {len(held[name])}" for name in ("x", "y", "t"))
        raise FileError(f"{path}: x, y and t differ in length: {lengths}")
    try:
        marks = json.loads(held["meta"].item()).get("marks", {}) if "meta" in held else {}
        named = {int(window): str(text) for window, text in marks.items()}
    except (ValueError, AttributeError, TypeError):
        raise FileError(f'{path}: meta is not JSON like {{"marks": {{"4": "why"}}}}') from None
    return LabeledStream(x=_inputs(path, held["x"]), y=held["y"], t=held["t"], marks=named)


def _inputs(path: Path, x: NDArray[Any]) -> NDArray[Any]:
    if x.dtype.kind in "iu":  # ids of a sequence must stay exact
        return x
    if x.dtype.kind == "f":
        return x.astype(np.float32)
    if x.dtype.kind != "U":
        raise FileError(
            f"{path}: x holds {x.dtype}; a stream has numbers, or text as a unicode array"
        )
    for place, text in enumerate(x.reshape(-1).tolist()):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise FileError(f"{path}: row {place} of x is not text in UTF-8") from None
    return x


def play(
    client: Client, model: str, stream: LabeledStream, *, audit: int = 0, say: Say
) -> Iterator[Played]:
    """Plays the windows in order and yields each when its run has ended and its champion is served.

    The truth of `audit` random rows a window is handed in as feedback before the run; all else is
    withheld. Raises what the client raises.
    """
    rng = np.random.default_rng(0)
    for window, x, y in stream.windows():
        before = str(client.model(model)["champion"])
        answers, places = _ask(client, model, x, say, f"window {window}: rows")
        frozen = _ask_anchor(client, model, x)
        if audit:
            _hand_in(client, model, places, y, rng.permutation(len(y))[:audit])
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


def _ask(
    client: Client, model: str, x: NDArray[Any], say: Say, what: str
) -> tuple[list[dict[str, Any]], list[tuple[str, int]]]:
    """The champion's answers, and where each row is kept: (prediction id, index)."""
    answers: list[dict[str, Any]] = []
    places: list[tuple[str, int]] = []
    for request in portions.cut(x):
        reply = client.predict(model, x[request])
        answers += reply["predictions"]
        places += [(reply["id"], index) for index in range(len(reply["predictions"]))]
        say(what, len(answers), len(x))
    return answers, places


def _ask_anchor(client: Client, model: str, x: NDArray[Any]) -> NDArray[Any]:
    """The classes that version 1 says of the same rows, which are not logged for it."""
    classes: list[int] = []
    for request in portions.cut(x):
        reply = client.infer(
            model, x[request], version="1", parameters={"log": False}, outputs=("class",)
        )
        classes += next(output["data"] for output in reply["outputs"] if output["name"] == "class")
    return np.array(classes)


def _hand_in(
    client: Client,
    model: str,
    places: list[tuple[str, int]],
    y: NDArray[Any],
    chosen: NDArray[np.int64],
) -> None:
    """The truth of the chosen rows; a negative class says that a row is none of the classes."""
    labels = [
        {
            "prediction_id": places[place][0],
            "row": places[place][1],
            "label": int(y[place]) if y[place] >= 0 else None,
            "source": "audit",
        }
        for place in chosen.tolist()
    ]
    for start in range(0, len(labels), LABELS_AT_ONCE):
        client.feedback(model, labels[start : start + LABELS_AT_ONCE])


def _learn(client: Client, model: str, reason: str, say: Say) -> dict[str, Any]:
    """The run over the rows that came, ended; empty when they were too few."""
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
