"""Sealed log files in the store: immutable, read by memory map, and read as if no row had ever been sent twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from acclimate.learning.values import Floats
from acclimate.storage import journal
from acclimate.storage.journal import JournalDamaged, SealedFile
from acclimate.storage.logged_rows import LoggedRows
from acclimate.storage.store import Store


class SegmentDamaged(Exception):
    """A stored segment is not what its digest names, or not a segment: the message says which. Nothing of it was used."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """The answers of logged rows without their inputs: as `LoggedRows` has them, one entry a row in each column."""

    prediction_id: list[str]
    row: NDArray[np.int32]
    version: NDArray[np.str_]
    logged_at: NDArray[np.float64]
    probabilities: Floats

    def take(self, places: NDArray[np.intp]) -> Answers:
        """The answers at these places, in this order."""
        return Answers(
            prediction_id=[self.prediction_id[place] for place in places.tolist()],
            row=self.row[places],
            version=self.version[places],
            logged_at=self.logged_at[places],
            probabilities=self.probabilities[places],
        )


class Segments:
    """Segments in a store, under `segments/<model>/<id>.arrow`. Raises `StoreMissing` for a key that holds nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, sealed: SealedFile, model: str, *, register: Callable[[str], None] | None = None) -> str:
        """The key under which the file stands in the store; the local one is gone. Again: the same key, nothing changed.

        `register(key)`, when given, is called between the two. Give it where acknowledged rows must not be lost: until it
        has returned, the file stays where `recover` finds it. Raises `SegmentDamaged` when another file of this id is there.
        """
        key = f"segments/{model}/{sealed.id}.arrow"
        if not self._store.exists(key):
            self._store.put_file(sealed.path, key, immutable=True)
        elif (found := _digest(self._store.local(key))) != sealed.digest:
            raise SegmentDamaged(
                f"{key} is in the store with digest {found}, not {sealed.digest}; {sealed.path.name} stays"
            )
        if register is not None:
            register(key)
        sealed.path.unlink(missing_ok=True)
        return key

    def read(self, key: str, digest: str | None = None) -> LoggedRows:
        """All rows in the order they were logged, every batch checked, and the whole file against `digest` when given.

        Raises `SegmentDamaged`.
        """
        path = self._store.local(key)
        try:
            if digest is not None and (found := _digest(path)) != digest:
                raise SegmentDamaged(f"{key} is damaged: its digest is {found}, not {digest}")
            return journal.read(path)
        except JournalDamaged as error:
            self._store.evict(key)
            raise SegmentDamaged(f"{key} is damaged: {error}") from error
        except SegmentDamaged:
            self._store.evict(key)
            raise

    def ids(self, key: str) -> tuple[list[str], NDArray[np.int32]]:
        """Prediction id and row of each logged row, in the order of `read`, without touching the other columns.

        Nothing is checked against crc or digest: what must not be wrong is read with `read`. Raises `SegmentDamaged`.
        """
        path = self._store.local(key)
        options = pa.ipc.IpcReadOptions(included_fields=[0, 1])
        try:
            with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file, options=options) as reader:
                table = reader.read_all()
            table.validate(full=True)
            rows = np.array(table.column("row").to_numpy(), dtype=np.int32)
            return table.column("prediction_id").to_pylist(), rows
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise SegmentDamaged(f"{key} is damaged: {error}") from error

    def answers(self, key: str) -> Answers:
        """What each row was answered, in the order of `read`, without touching the inputs and unchecked, as `ids` is.

        Raises `SegmentDamaged`, `StoreMissing`.
        """
        path = self._store.local(key)
        # prediction_id, row, version, logged_at, probabilities
        options = pa.ipc.IpcReadOptions(included_fields=[0, 1, 2, 3, 7])
        try:
            with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file, options=options) as reader:
                table = reader.read_all()
                table.validate(full=True)
                answers = table.column("probabilities").combine_chunks()
                return Answers(
                    prediction_id=table.column("prediction_id").to_pylist(),
                    row=np.array(table.column("row").to_numpy(), dtype=np.int32),
                    version=np.array(table.column("version").to_pylist(), dtype=np.str_),
                    logged_at=np.array(table.column("logged_at").to_numpy(), dtype=np.float64),
                    probabilities=np.array(answers.flatten().to_numpy()).reshape(-1, answers.type.list_size),
                )
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise SegmentDamaged(f"{key} is damaged: {error}") from error

    def delete(self, key: str) -> None:
        """Nothing stands under `key` when this returns."""
        self._store.delete(key)


def first_copies(prediction_id: list[str], row: NDArray[np.int32]) -> NDArray[np.intp]:
    """The places, ascending, of the first copy of each (prediction id, row): a repeated id is logged again and not counted."""
    first: dict[tuple[str, int], int] = {}
    for place, address in enumerate(zip(prediction_id, row.tolist(), strict=True)):
        first.setdefault(address, place)
    return np.fromiter(first.values(), dtype=np.intp, count=len(first))


def deduplicate(rows: LoggedRows) -> LoggedRows:
    """The rows without any but the first copy of each (prediction id, row)."""
    places = first_copies(list(rows.prediction_id), rows.row)
    return rows if len(places) == len(rows) else rows.take(places)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
