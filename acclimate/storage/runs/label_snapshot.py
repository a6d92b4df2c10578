"""What people's labels are to a run: each label judges once, then it teaches (docs/decisions/0021).

The first run that is asked for after a label came judges with it, whichever window its row is in.
Every later run learns from it: rows of earlier windows, quarantined ones too, since a person
vouched for the label. Labels of the windows that a run learns from judge whenever they came, unless
they have taught the champion by then.
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
from acclimate.storage.registry import labels
from acclimate.storage.registry.labels import LabelRecord
from acclimate.storage.store import StoreMissing
from acclimate.storage.tables import runs

MOST_WINDOWS = 8
MOST_ROWS = 2000
"""Of so many of the windows before the run's, so many rows teach and as many judge late, the newest
ones.
"""
DECIDED = ("succeeded", "rejected")
LOOK = "audited_gain"
"""The gate that is written wherever labels judged."""
ORIGIN = ("parent_version", "recipe", "policy_revision", "gates_revision")
MOST_LOOKS = 500
Origin = tuple[tuple[Any, ...], tuple[int, ...]]
Address = tuple[str, int]
Place = tuple[RowMapping, int]
Input = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class SnapshotInputs:
    """What was known when a run was asked for, read in one transaction.

    `judged_until`: labels accepted by then have had the run that judges with them. `taught_until`:
    those have taught the champion. `windows` has the segments of each earlier window with labels,
    the newest window first.
    """

    said: Mapping[Address, LabelRecord]
    judged_until: float
    taught_until: float
    windows: list[list[RowMapping]]
    past: Past | None
    number: int
    vouched: bool
    mine: Origin | None
    judged: frozenset[tuple[Origin, int]]
    """Where the challengers came from that labels of these windows judged before, and how many
    labels.
    """


def inputs_of_run(connection: Connection, run: RowMapping) -> SnapshotInputs:
    """What this run goes by; the same for each of its attempts as long as nobody changes a
    label.
    """
    return _inputs(connection, run["model_id"], run["windows"], before=run["created_at"], run=run)


def inputs_now(connection: Connection, model_id: str, windows: Sequence[int]) -> SnapshotInputs:
    """What a run over these windows would go by if it were asked for now."""
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
    columns = (runs.c.id, runs.c.windows, runs.c.created_at, runs.c.state, runs.c.promoted)
    mine = (runs.c.model_id == model_id, true() if run is None else runs.c.id < run["id"])
    earlier = [row for row in connection.execute(select(*columns).where(*mine)) if row.windows]
    same = [row.id for row in earlier if set(row.windows) & set(numbers)]
    known = range(max(1, first - MOST_WINDOWS), first)
    labelled = [
        row["number"]
        for row in windows.list_all(connection, model_id)
        if row["number"] in known and row["rows_labelled"]
    ]
    states = {windows.get(connection, model_id, number)["state"] for number in numbers}
    return SnapshotInputs(
        said=labels.records(connection, model_id, before=before),
        judged_until=max(
            (row.created_at for row in earlier if row.state in DECIDED), default=-math.inf
        ),
        taught_until=max(
            (row.created_at for row in earlier if row.promoted and min(row.windows) > first),
            default=-math.inf,
        ),
        windows=[
            catalog.segments_of(connection, model_id, [number]) for number in reversed(labelled)
        ],
        past=windows.past(connection, model_id, before=first),
        number=first,
        vouched=states == {"released"},
        mine=None if run is None else _origin(run),
        judged=_judged(connection, same),
    )


def snapshot(segments: Segments, words: SnapshotInputs, rows: LoggedRows) -> Snapshot:
    """Which of the run's `rows` judge, and the rows of earlier windows that teach or judge; what
    cannot be read does neither.
    """
    addresses = list(zip(rows.prediction_id, rows.row.tolist(), strict=True))
    taken = set(addresses)
    roles: dict[str, list[Address]] = {"taught": [], "late": []}
    inputs: dict[Address, Input] = {}
    for lines in words.windows:
        here = _find(
            segments,
            lines,
            {address for address in words.said.keys() - taken if _is_class(words, address)},
        )
        taken |= here.keys()
        newest = sorted(
            here, key=lambda address: (words.said[address].first_at, address), reverse=True
        )
        chosen: list[Address] = []
        for name, addresses_of in roles.items():
            fit = [address for address in newest if (name == "late") == _is_late(words, address)]
            fit = fit[: MOST_ROWS - len(addresses_of)]
            addresses_of += fit
            chosen += fit
        inputs |= _read(segments, {address: here[address] for address in chosen})
    own = _of_own(words, addresses)
    parts = {
        name: _part(words, [address for address in found if address in inputs], inputs)
        for name, found in roles.items()
    }
    return Snapshot(
        labels=own,
        past=words.past,
        vouched=words.vouched,
        looks=len(words.judged - {(words.mine, int((own >= 0).sum()) + len(parts["late"] or ()))}),
        number=words.number,
        taught=parts["taught"],
        late=parts["late"],
    )


def _of_own(words: SnapshotInputs, addresses: list[Address]) -> Integers:
    """The label (N,) of each row of the run's own windows."""
    found = np.full(len(addresses), UNLABELLED, dtype=np.int64)
    for place, address in enumerate(addresses):
        if address in words.said:
            said = words.said[address]
            known = NONE_OF_THE_CLASSES if said.label is None else said.label
            found[place] = (
                TAUGHT if said.label is not None and said.first_at <= words.taught_until else known
            )
    return found


def _is_late(words: SnapshotInputs, address: Address) -> bool:
    return words.said[address].first_at > words.judged_until


def _is_class(words: SnapshotInputs, address: Address) -> bool:
    return words.said[address].label is not None


def _find(segments: Segments, lines: list[RowMapping], asked: set[Address]) -> dict[Address, Place]:
    """In which segment, and where in it, the first copy of each row stands; no inputs are
    touched.
    """
    found: dict[Address, Place] = {}
    for line in lines:
        missing = asked - found.keys()
        if not missing:
            break
        try:
            found |= {
                address: (line, place)
                for address, place in segments.places(line["key"], missing).items()
            }
        except (SegmentDamaged, StoreMissing):
            continue
    return found


def _read(segments: Segments, chosen: Mapping[Address, Place]) -> dict[Address, Input]:
    """The input (1, *shape) of each row, from the segments that hold one of them alone."""
    by_segment: dict[str, list[Address]] = {}
    for address, (line, _) in chosen.items():
        by_segment.setdefault(line["id"], []).append(address)
    found: dict[Address, Input] = {}
    for addresses in by_segment.values():
        line = chosen[addresses[0]][0]
        places = np.array([chosen[address][1] for address in addresses])
        try:
            x = segments.take(line["key"], line["digest"], places).x
        except (SegmentDamaged, StoreMissing):
            continue
        found |= {address: x[place : place + 1] for place, address in enumerate(addresses)}
    return found


def _part(
    words: SnapshotInputs, addresses: list[Address], inputs: Mapping[Address, Input]
) -> Part | None:
    if not addresses:
        return None
    y = np.array([words.said[address].label for address in addresses], dtype=np.int64)
    return Part(x=np.concatenate([inputs[address] for address in addresses]), y=y)


def _judged(connection: Connection, run_ids: list[str]) -> frozenset[tuple[Origin, int]]:
    """Of each of these runs whose challenger labels judged: where that came from, and how many
    labels it were.
    """
    columns = [runs.c[name] for name in (*ORIGIN, "windows", "gates")]
    found = connection.execute(
        select(*columns).where(runs.c.id.in_(run_ids[-MOST_LOOKS:]))
    ).mappings()
    return frozenset(
        (_origin(row), gate["n"])
        for row in found
        for gate in row["gates"] or ()
        if gate["gate"] == LOOK
    )


def _origin(run: RowMapping) -> Origin:
    """What a challenger follows from, beside the labels: from the same comes the same one."""
    return (tuple(run[name] for name in ORIGIN), tuple(run["windows"]))
