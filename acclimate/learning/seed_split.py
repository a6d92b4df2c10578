"""The seed set: checked, and split by class into the part that trains and the two parts that never
do. No torch here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from acclimate.learning.data import Integers, Part, Rows, SeedSet
from acclimate.learning.spec import InputSpec, Problem

ROWS_OF_A_CLASS = 8
"""Fewer than this leave no two rows of the class in each part."""
CALIBRATION_SHARE = 0.2
JUDGING_SHARE = 0.3


class SeedError(ValueError):
    """The seed set cannot be used, for the reasons that `problems` lists; nothing was made
    of it.
    """

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{problem.pointer}: {problem.detail}" for problem in problems))
        self.problems = problems


def split(x: Any, y: Any, input_spec: InputSpec, *, rng: np.random.Generator) -> SeedSet:
    """Training 50, calibration 20 and judging 30 % of each class, at least two rows of each class
    in each part.

    x (N, *shape) are numbers, for text strings (N,) or (N, 1); y (N,) whole numbers into the
    classes. Every row lands in exactly one part; `rng` says in which. Raises `SeedError` with every
    problem found.
    """
    problems: list[Problem] = []
    read = {"text": _texts, "sequence": _tokens}.get(input_spec.kind, _numbers)
    rows = read(np.asarray(x), input_spec, problems)
    labels = _labels(np.asarray(y), len(input_spec.classes), problems)
    if rows is not None and labels is not None and len(rows) != len(labels):
        problems.append(
            Problem(
                "#/seed/y",
                f"{len(labels)} labels for {len(rows)} rows of x: each row needs exactly one label",
            )
        )
    if labels is not None:
        problems += _scarce(labels, input_spec.classes)
    if problems or rows is None or labels is None:
        raise SeedError(problems)
    train, calibration, judging = _parts(labels, rng)
    return SeedSet(
        train=Part(x=rows[train], y=labels[train]),
        calibration=Part(x=rows[calibration], y=labels[calibration]),
        judging=Part(x=rows[judging], y=labels[judging]),
    )


def _texts(x: np.ndarray[Any, Any], input_spec: InputSpec, problems: list[Problem]) -> Rows | None:
    """x as strings (N, 1), or None and the problem."""
    if x.shape[1:] not in ((), (1,)):
        problems.append(
            Problem(
                "#/seed/x",
                f"has shape {list(x.shape)}; give one string a row, shape [rows] or [rows, 1]",
            )
        )
        return None
    if x.dtype.kind not in "UO" or not all(
        isinstance(text, str) for text in x.reshape(-1).tolist()
    ):
        problems.append(
            Problem("#/seed/x", f"holds {x.dtype} values; give strings, as a unicode array")
        )
        return None
    rows = x.reshape(-1, 1).astype(object)
    bad = [index for index, (text,) in enumerate(rows.tolist()) if not _is_unicode(text)]
    if bad:
        problems.append(
            Problem(
                "#/seed/x",
                f"row {bad[0]} cannot be written in UTF-8 (the first of {len(bad)} such rows)",
            )
        )
        return None
    return rows


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _tokens(x: np.ndarray[Any, Any], input_spec: InputSpec, problems: list[Problem]) -> Rows | None:
    """x as int64 (N, L), or None and the problem."""
    if x.dtype.kind not in "iu":
        problems.append(
            Problem("#/seed/x", f"holds {x.dtype} values; give token ids, as an integer array")
        )
        return None
    if x.ndim < 1 or x.shape[1:] != input_spec.shape:
        problems.append(_misshapen(x, input_spec))
        return None
    bad = ((x < 0) | (x > np.iinfo(np.int64).max)).any(axis=1)
    if bad.any():
        first, rows = int(np.flatnonzero(bad)[0]), int(bad.sum())
        detail = (
            f"row {first} holds a token id below 0 or above int64 (the first of {rows} such rows)"
        )
        problems.append(Problem("#/seed/x", detail))
        return None
    return x.astype(np.int64)


def _misshapen(x: np.ndarray[Any, Any], input_spec: InputSpec) -> Problem:
    wanted = ", ".join(map(str, input_spec.shape))
    return Problem(
        "#/seed/x", f"has shape {list(x.shape)}; give [rows, {wanted}], as [input] shape says"
    )


def _numbers(
    x: np.ndarray[Any, Any], input_spec: InputSpec, problems: list[Problem]
) -> Rows | None:
    """x as float32, or None and the problem."""

    def wrong(detail: str) -> None:
        problems.append(Problem("#/seed/x", detail))

    if x.dtype.kind not in "fiub":
        wrong(f"holds {x.dtype} values; give numbers, as a float or integer array")
        return None
    if x.ndim < 1 or x.shape[1:] != input_spec.shape:
        problems.append(_misshapen(x, input_spec))
        return None
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and said so below
        rows = x.astype(np.float32)
    bad = (
        ~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
        if len(rows)
        else np.zeros(0, dtype=bool)
    )
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        column = int(np.flatnonzero(~np.isfinite(rows[first].reshape(-1)))[0])
        value = x[first].reshape(-1)[column]
        wrong(
            f"row {first} holds {value} at position {column} (the first of {int(bad.sum())} "
            f"such rows): "
            "every value must be a finite float32"
        )
        return None
    return rows


def _labels(y: np.ndarray[Any, Any], classes: int, problems: list[Problem]) -> Integers | None:
    """y as int64, or None and the problem."""

    def wrong(detail: str) -> None:
        problems.append(Problem("#/seed/y", detail))

    if y.dtype.kind not in "iu":
        wrong(
            f"holds {y.dtype} values; give whole numbers (an integer array) from 0 to "
            f"{classes - 1}, indices into classes"
        )
        return None
    if y.ndim != 1:
        wrong(f"has shape {list(y.shape)}; give one label a row, shape [rows]")
        return None
    outside = (y < 0) | (y >= classes)
    if outside.any():
        which = ", ".join(str(value) for value in np.unique(y[outside])[:5])
        wrong(
            f"labels out of range: {which} (first at row {int(np.flatnonzero(outside)[0])}, "
            f"{int(outside.sum())} rows); "
            f"allowed are 0 to {classes - 1}, one for each of the {classes} classes"
        )
        return None
    return y.astype(np.int64)


def _scarce(labels: Integers, classes: tuple[str, ...]) -> list[Problem]:
    counts = np.bincount(labels, minlength=len(classes))
    return [
        Problem(
            "#/seed/y",
            f"class {name!r} (label {index}) has {counts[index]} rows, needs {ROWS_OF_A_CLASS}",
        )
        for index, name in enumerate(classes)
        if counts[index] < ROWS_OF_A_CLASS
    ]


def _parts(labels: Integers, rng: np.random.Generator) -> list[Integers]:
    """Row numbers of the three parts, each in random order."""
    parts: tuple[list[Integers], list[Integers], list[Integers]] = ([], [], [])
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        calibration = max(2, round(CALIBRATION_SHARE * len(rows)))
        judging = max(2, round(JUDGING_SHARE * len(rows)))
        parts[1].append(rows[:calibration])
        parts[2].append(rows[calibration : calibration + judging])
        parts[0].append(rows[calibration + judging :])
    return [rng.permutation(np.concatenate(part)) for part in parts]
