"""The labels that a run uses, to judge and to teach (docs/decisions/0015).

The first run requested after a label was accepted judges with it, whichever window its row is in.
Every later run trains on it: also on rows of quarantined windows, since a person gave the label.
Labels of the run's own windows judge and teach, unless they have taught the learner, or a version
that it was made from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, RowMapping, select, true

from acclimate.learning.data import (
    NONE_OF_THE_CLASSES,
    TAUGHT,
    UNLABELLED,
    Integers,
    Part,
    Past,
    Snapshot,
)
from acclimate.storage.log import catalog, windows
from acclimate.storage.log.logged_rows import LoggedRows
from acclimate.storage.log.segments import SegmentDamaged, Segments
from acclimate.storage.registry import labels, promotions, versions
from acclimate.storage.registry.labels import LabelRecord
from acclimate.storage.store import StoreMissing
from acclimate.storage.tables import runs

MOST_WINDOWS = 8
"""Windows before the run's whose labels are used."""
MOST_ROWS = 2000
"""Rows of those windows that teach, and as many that judge late: the newest."""
DECIDED = ("succeeded", "rejected")
LOOK = "audited_gain"
"""The gate that is written wherever labels judged."""
ORIGIN = ("parent_version", "recipe", "policy_revision", "gates_revision")
MOST_RUNS = 500
Origin = tuple[tuple[Any, ...], tuple[int, ...]]
Address = tuple[str, int]
Place = tuple[RowMapping, int]
Input = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class SnapshotInputs:
    """What was known when a run was requested, read in one transaction.

    `judged_until` and `taught_until`, unix seconds: labels accepted by then have been used to
    judge, or have taught the learner or a version that it was made from. `windows` has the
    segments of each earlier window with labels, newest window first. `past` and `number` as in
    `learning.data.Window`. `origin` is that of the run, None for a plan; `judged` has the origin
    and number of labels of each challenger that labels of these windows judged before.
    """

    labels: Mapping[Address, LabelRecord]
    judged_until: float
    taught_until: float
    windows: list[list[RowMapping]]
    past: Past | None
    number: int
    released: bool
    origin: Origin | None
    judged: frozenset[tuple[Origin, int]]


def inputs_of_run(connection: Connection, run: RowMapping) -> SnapshotInputs:
    """The inputs of this run's snapshot; equal for each attempt unless labels are changed."""
    return _inputs(connection, run["model_id"], run["windows"], before=run["created_at"], run=run)


def inputs_now(connection: Connection, model_id: str, windows: Sequence[int]) -> SnapshotInputs:
    """The inputs of a run over these windows if it were requested now."""
    return _inputs(connection, model_id, windows, before=math.inf, run=None)


def _inputs(
    connection: Connection,
    model_id: str,
    numbers: Sequence[int],
    *,
    before: float,
    run: RowMapping | None,
) -> SnapshotInputs:
    first = min(numbers)
    columns = (runs.c.id, runs.c.windows, runs.c.created_at, runs.c.state, runs.c.version)
    mine = (runs.c.model_id == model_id, true() if run is None else runs.c.id < run["id"])
    earlier = [row for row in connection.execute(select(*columns).where(*mine)) if row.windows]
    same = [row.id for row in earlier if set(row.windows) & set(numbers)]
    earlier_numbers = range(max(1, first - MOST_WINDOWS), first)
    labelled = [
        row["number"]
        for row in windows.list_all(connection, model_id)
        if row["number"] in earlier_numbers and row["rows_labelled"]
    ]
    states = {windows.get(connection, model_id, number)["state"] for number in numbers}
    learner = promotions.learner(connection, model_id) if run is None else run["parent_version"]
    line = versions.line_of(connection, model_id, learner)
    return SnapshotInputs(
        labels=labels.records(connection, model_id, before=before),
        judged_until=max(
            (row.created_at for row in earlier if row.state in DECIDED), default=-math.inf
        ),
        taught_until=max(
            (
                row.created_at
                for row in earlier
                if row.version in line and min(row.windows) >= first
            ),
            default=-math.inf,
        ),
        windows=[
            catalog.segments_of(connection, model_id, [number]) for number in reversed(labelled)
        ],
        past=windows.past(connection, model_id, before=first),
        number=first,
        released=states == {"released"},
        origin=None if run is None else _origin(run),
        judged=_judged(connection, same),
    )


def snapshot(segments: Segments, known: SnapshotInputs, rows: LoggedRows) -> Snapshot:
    """The label of each of the run's `rows`, and labelled rows of earlier windows.

    Rows of earlier windows that cannot be read are left out.
    """
    addresses = list(zip(rows.prediction_id, rows.row.tolist(), strict=True))
    taken = set(addresses)
    uses: dict[str, list[Address]] = {"taught": [], "late": []}
    inputs: dict[Address, Input] = {}
    for lines in known.windows:
        here = _find(
            segments,
            lines,
            {address for address in known.labels.keys() - taken if _is_class(known, address)},
        )
        taken |= here.keys()
        newest = sorted(
            here, key=lambda address: (known.labels[address].first_at, address), reverse=True
        )
        chosen: list[Address] = []
        for name, addresses_of in uses.items():
            fit = [address for address in newest if (name == "late") == _is_late(known, address)]
            fit = fit[: MOST_ROWS - len(addresses_of)]
            addresses_of += fit
            chosen += fit
        inputs |= _read(segments, {address: here[address] for address in chosen})
    own = _of_own(known, addresses)
    parts = {
        name: _part(known, [address for address in found if address in inputs], inputs)
        for name, found in uses.items()
    }
    return Snapshot(
        labels=own,
        past=known.past,
        released=known.released,
        peeks=len(
            known.judged - {(known.origin, int((own >= 0).sum()) + len(parts["late"] or ()))}
        ),
        number=known.number,
        taught=parts["taught"],
        late=parts["late"],
    )


def _of_own(known: SnapshotInputs, addresses: list[Address]) -> Integers:
    """The label (N,) of each row of the run's own windows."""
    found = np.full(len(addresses), UNLABELLED, dtype=np.int64)
    for index, address in enumerate(addresses):
        record = known.labels.get(address)
        if record is None:
            continue
        if record.label is None:
            found[index] = NONE_OF_THE_CLASSES
        elif record.first_at <= known.taught_until:
            found[index] = TAUGHT
        else:
            found[index] = record.label
    return found


def _is_late(known: SnapshotInputs, address: Address) -> bool:
    """Whether the row judges now: its label came after every earlier run was requested."""
    return known.labels[address].first_at > known.judged_until


def _is_class(known: SnapshotInputs, address: Address) -> bool:
    """Whether the row's label is one of the classes."""
    return known.labels[address].label is not None


def _find(segments: Segments, lines: list[RowMapping], asked: set[Address]) -> dict[Address, Place]:
    """The segment and position of the first copy of each row; inputs are not read."""
    found: dict[Address, Place] = {}
    for line in lines:
        missing = asked - found.keys()
        if not missing:
            break
        try:
            found |= {
                address: (line, position)
                for address, position in segments.positions(line["key"], missing).items()
            }
        except (SegmentDamaged, StoreMissing):
            continue
    return found


def _read(segments: Segments, chosen: Mapping[Address, Place]) -> dict[Address, Input]:
    """The input (1, *shape) of each row, from the segments that hold at least one."""
    by_segment: dict[str, list[Address]] = {}
    for address, (line, _) in chosen.items():
        by_segment.setdefault(line["id"], []).append(address)
    found: dict[Address, Input] = {}
    for addresses in by_segment.values():
        line = chosen[addresses[0]][0]
        positions = np.array([chosen[address][1] for address in addresses])
        try:
            x = segments.take(line["key"], line["digest"], positions).x
        except (SegmentDamaged, StoreMissing):
            continue
        found |= {address: x[position : position + 1] for position, address in enumerate(addresses)}
    return found


def _part(
    known: SnapshotInputs, addresses: list[Address], inputs: Mapping[Address, Input]
) -> Part | None:
    """The rows with their labels; None without rows."""
    if not addresses:
        return None
    y = np.array([known.labels[address].label for address in addresses], dtype=np.int64)
    return Part(x=np.concatenate([inputs[address] for address in addresses]), y=y)


def _judged(connection: Connection, run_ids: list[str]) -> frozenset[tuple[Origin, int]]:
    """Origin and number of labels of each of these runs whose challenger was judged on labels."""
    columns = [runs.c[name] for name in (*ORIGIN, "windows", "gates")]
    found = connection.execute(
        select(*columns).where(runs.c.id.in_(run_ids[-MOST_RUNS:]))
    ).mappings()
    return frozenset(
        (_origin(row), gate["n"])
        for row in found
        for gate in row["gates"] or ()
        if gate["gate"] == LOOK
    )


def _origin(run: RowMapping) -> Origin:
    """What determines a challenger besides the labels: equal origins make equal challengers."""
    return (tuple(run[name] for name in ORIGIN), tuple(run["windows"]))
