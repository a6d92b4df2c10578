"""Sealed log files in the store: immutable, read by memory map, and read as if no row had ever been sent twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from acclimate.learning.values import Floats
from acclimate.storage import journal
from acclimate.storage.journal import JournalDamaged, SealedFile
from acclimate.storage.logged_rows import JournalSchema, LoggedRows
from acclimate.storage.store import Store

MOST_CHECKED = 10_000


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
        self._checked: set[str] = set()

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

    def discard(self, sealed: SealedFile, model: str) -> None:
        """Neither the file nor what `put` made of it is there when this returns."""
        self._store.delete(f"segments/{model}/{sealed.id}.arrow")
        sealed.path.unlink(missing_ok=True)

    def take(self, key: str, digest: str, places: NDArray[np.integer[Any]] | range) -> LoggedRows:
        """The rows at these places of `read`, in this order, at the cost of those rows alone once the file was checked here.

        Raises `SegmentDamaged`.
        """
        self._check(key, digest)
        with self._table(key) as table:
            rows = table.slice(places.start, len(places)) if isinstance(places, range) else table.take(pa.array(places))
            return JournalSchema.of_arrow(table.schema).rows(rows.to_batches())

    def ids(self, key: str) -> tuple[list[str], NDArray[np.int32]]:
        """Prediction id and row of each logged row, in the order of `read`, without touching the other columns.

        Nothing is checked against crc or digest: what must not be wrong is read with `read`. Raises `SegmentDamaged`.
        """
        with self._table(key, columns=[0, 1]) as table:
            return _addresses(table)

    def find(self, key: str, prediction_ids: Collection[str]) -> set[tuple[str, int]]:
        """Which (prediction id, row) of these predictions are logged there, read and checked as `ids` is."""
        with self._table(key, columns=[0, 1]) as table:
            asked = pa.array(prediction_ids, pa.string())
            ids, rows = _addresses(table.filter(pc.is_in(table.column("prediction_id"), value_set=asked)))
            return set(zip(ids, rows.tolist(), strict=True))

    def places(self, key: str, addresses: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Where in `read` the first copy of each of these rows is logged, of those that are; read as `ids` is."""
        with self._table(key, columns=[0, 1]) as table:
            asked = pa.array({id for id, _ in addresses}, pa.string())
            here = pc.indices_nonzero(pc.is_in(table.column("prediction_id"), value_set=asked))
            found: dict[tuple[str, int], int] = {}
            ids, rows = _addresses(table.take(here))
            for address, place in zip(zip(ids, rows.tolist(), strict=True), here.to_pylist(), strict=True):
                found.setdefault(address, place)
            return {address: place for address, place in found.items() if address in addresses}

    def answers(self, key: str) -> Answers:
        """What each row was answered, in the order of `read`, without touching the inputs and unchecked, as `ids` is.

        Raises `SegmentDamaged`, `StoreMissing`.
        """
        # prediction_id, row, version, logged_at, probabilities
        with self._table(key, columns=[0, 1, 2, 3, 7]) as table:
            ids, rows = _addresses(table)
            answers = table.column("probabilities").combine_chunks()
            return Answers(
                prediction_id=ids,
                row=rows,
                version=np.array(table.column("version").to_pylist(), dtype=np.str_),
                logged_at=np.array(table.column("logged_at").to_numpy(), dtype=np.float64),
                probabilities=np.array(answers.flatten().to_numpy()).reshape(-1, answers.type.list_size),
            )

    def state(self, key: str, digest: str, id: str) -> tuple[str, bytes] | None:
        """The version that answered in this running state there, and the state's content; None where no row was.

        The file is searched unchecked, and checked only when it holds the state. Raises `SegmentDamaged`.
        """
        with self._table(key) as table:
            if "state_content" not in table.schema.names:
                return None
            known = table.select(["version", "state", "state_content"])
            known.validate(full=True)
            holds = pc.and_(pc.equal(known.column("state"), id), known.column("state_content").is_valid())
            found = known.filter(holds).slice(0, 1).to_pylist()
        if not found:
            return None
        self._check(key, digest)
        return found[0]["version"], found[0]["state_content"]

    def delete(self, key: str) -> None:
        """Nothing stands under `key` when this returns."""
        self._store.delete(key)

    def delete_all(self, model: str) -> None:
        """No segment of the model stands in the store when this returns."""
        for key in self._store.list(f"segments/{model}"):
            self._store.delete(key)

    def _check(self, key: str, digest: str) -> None:
        """Read the whole file once, the first time that somebody relies on it. Raises `SegmentDamaged`."""
        if key not in self._checked:
            self.read(key, digest)
            if len(self._checked) >= MOST_CHECKED:
                self._checked.clear()
            self._checked.add(key)

    @contextmanager
    def _table(self, key: str, *, columns: list[int] | None = None) -> Iterator[pa.Table]:
        """The file's rows in the memory that maps it, for the block. Raises `SegmentDamaged`."""
        options = pa.ipc.IpcReadOptions(included_fields=columns)
        try:
            with (
                pa.memory_map(str(self._store.local(key))) as file,
                pa.ipc.open_stream(file, options=options) as reader,
            ):
                table = reader.read_all()
                if columns is not None:
                    table.validate(full=True)
                yield table
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise SegmentDamaged(f"{key} is damaged: {error}") from error


def _addresses(table: pa.Table) -> tuple[list[str], NDArray[np.int32]]:
    return table.column("prediction_id").to_pylist(), np.array(table.column("row").to_numpy(), dtype=np.int32)


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
