"""Sealed log files in the store: immutable, read by memory map; repeated rows are left out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from acclimate.learning.data import Floats
from acclimate.storage.log import journal
from acclimate.storage.log.journal import JournalDamaged, SealedFile
from acclimate.storage.log.logged_rows import JournalSchema, LoggedRows
from acclimate.storage.store import Store

MOST_CHECKED = 10_000
"""Keys of checked segments that a process remembers."""


class SegmentDamaged(Exception):
    """A stored segment does not have its digest, or is not a segment; nothing of it was used."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """The answers of logged rows without their inputs; columns as in `LoggedRows`."""

    prediction_id: list[str]
    row: NDArray[np.int32]
    version: NDArray[np.str_]
    logged_at: NDArray[np.float64]
    probabilities: Floats

    def take(self, positions: NDArray[np.intp]) -> Answers:
        """The answers at these positions, in this order."""
        return Answers(
            prediction_id=[self.prediction_id[position] for position in positions.tolist()],
            row=self.row[positions],
            version=self.version[positions],
            logged_at=self.logged_at[positions],
            probabilities=self.probabilities[positions],
        )


class Segments:
    """Segments in a store, under `segments/<model>/<id>.arrow`.

    After rows were erased n times, under `<id>.e<n>.arrow`. Raises `StoreMissing` for a key without
    a file.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._checked: set[str] = set()

    def put(
        self,
        sealed: SealedFile,
        model: str,
        *,
        register: Callable[[str], None] | None = None,
        erased: bool = False,
    ) -> str:
        """Move the sealed file to the store; returns its key. Repeating changes nothing.

        `register(key)`, when given, is called before the local file is deleted. Give it where
        acknowledged rows must not be lost: until it returns, `recover` finds the file. With
        `erased`, rows may have been removed from the file: it replaces a file that was stored and
        not registered, which may hold them. Raises `SegmentDamaged` when another file of this id is
        stored.
        """
        key = _key(model, sealed.id, int(erased))
        if erased or not self._store.exists(key):
            self._store.put_file(sealed.path, key, immutable=not erased)
        elif (found := _digest(self._store.local(key))) != sealed.digest:
            raise SegmentDamaged(
                f"{key} is in the store with digest {found}, not {sealed.digest}; "
                f"{sealed.path.name} stays"
            )
        if register is not None:
            register(key)
        if erased:
            self._store.delete(_key(model, sealed.id, 0))
        self.delete_local(sealed)
        return key

    def delete_local(self, sealed: SealedFile) -> None:
        """Delete the file from its replica's disk, since the catalog lists it."""
        sealed.path.unlink(missing_ok=True)

    def read_sealed(self, sealed: SealedFile) -> LoggedRows:
        """The rows of a file that is still on its replica's disk. Raises `SegmentDamaged`."""
        try:
            return journal.read(sealed.path)
        except JournalDamaged as error:
            raise SegmentDamaged(str(error)) from error

    def replace_local(self, sealed: SealedFile, kept: LoggedRows) -> SealedFile | None:
        """Replace the file on its replica's disk by one with these of its rows.

        Returns None, and changes nothing, where there are none.
        """
        if not len(kept):
            return None
        return journal.write(sealed.path, sealed.id, journal.schema_of(sealed.path), kept)

    def rewrite(self, model: str, id: str, key: str, kept: LoggedRows) -> tuple[str, SealedFile]:
        """Store these rows of the segment as the next of its files; returns key and description.

        The file under `key` stays. One caller at a time. Raises `SegmentDamaged`.
        """
        path = self._store.local(key)
        new = _key(model, id, _times_erased(key) + 1)
        with self._store.scratch_folder() as folder:
            try:
                sealed = journal.write(folder / f"{id}.arrow", id, journal.schema_of(path), kept)
            except JournalDamaged as error:
                raise SegmentDamaged(f"{key} is damaged: {error}") from error
            self._store.put_file(sealed.path, new)
        return new, sealed

    def newest(self, model: str, id: str) -> tuple[str, SealedFile] | None:
        """The stored file of this segment that rows were erased from most often; None without one.

        Raises `SegmentDamaged`.
        """
        keys = [
            key
            for key in self._store.list(f"segments/{model}")
            if key.rpartition("/")[2].startswith(f"{id}.")
        ]
        if not keys:
            return None
        key = max(keys, key=_times_erased)
        try:
            return key, journal.describe(self._store.local(key), id)
        except JournalDamaged as error:
            raise SegmentDamaged(f"{key} is damaged: {error}") from error

    def delete_before(self, key: str) -> None:
        """Delete the files of this segment that hold rows erased from the one under `key`."""
        folder, _, name = key.rpartition("/")
        for times in range(_times_erased(key)):
            self._store.delete(_key(folder.rpartition("/")[2], name.partition(".")[0], times))

    def exists(self, key: str) -> bool:
        """Whether a file is stored under the key."""
        return self._store.exists(key)

    def subjects(self, key: str) -> tuple[list[str | None], NDArray[np.float64]]:
        """The subject of each row, and when it was logged, unix seconds (N,).

        Read and checked as by `ids`. Raises `SegmentDamaged`.
        """
        with self._table(key, columns=[3, 5]) as table:
            return table.column("subject").to_pylist(), np.array(
                table.column("logged_at").to_numpy()
            )

    def put_tombstone(self, model: str, pseudonym: str, until: float) -> None:
        """Record beside the segments that this subject was erased, also for a restored database."""
        self._store.put_bytes(
            json.dumps({"until": until}).encode(), f"erased/{model}/{pseudonym}.json"
        )

    def tombstones(self, model: str) -> dict[str, float]:
        """Until when the rows of each erased subject are to be gone, unix seconds, by pseudonym."""
        keys = self._store.list(f"erased/{model}")
        return {
            Path(key).stem: float(json.loads(self._store.get_bytes(key))["until"]) for key in keys
        }

    def read(self, key: str, digest: str | None = None) -> LoggedRows:
        """All rows in the order they were logged; every batch is checked, and `digest` if given.

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
        """Delete the local file, and what `put` stored of it."""
        self._store.delete(_key(model, sealed.id, 0))
        sealed.path.unlink(missing_ok=True)

    def take(
        self, key: str, digest: str, positions: NDArray[np.integer[Any]] | range
    ) -> LoggedRows:
        """The rows at these positions of `read`, in this order.

        Reads those rows alone, once this process has checked the file. Raises `SegmentDamaged`.
        """
        self._check(key, digest)
        with self._table(key) as table:
            rows = (
                table.slice(positions.start, len(positions))
                if isinstance(positions, range)
                else table.take(pa.array(positions))
            )
            return JournalSchema.of_arrow(table.schema).rows(rows.to_batches())

    def ids(self, key: str) -> tuple[list[str], NDArray[np.int32]]:
        """Prediction id and row (N,) of each logged row, in the order of `read`.

        Other columns are not read, and nothing is checked against crc or digest: use `read` for
        what must not be wrong. Raises `SegmentDamaged`.
        """
        with self._table(key, columns=[0, 1]) as table:
            return _addresses(table)

    def find(self, key: str, prediction_ids: Collection[str]) -> set[tuple[str, int]]:
        """The (prediction id, row) of these predictions that are logged there; read as by `ids`."""
        with self._table(key, columns=[0, 1]) as table:
            asked = pa.array(prediction_ids, pa.string())
            ids, rows = _addresses(
                table.filter(pc.is_in(table.column("prediction_id"), value_set=asked))
            )
            return set(zip(ids, rows.tolist(), strict=True))

    def positions(
        self, key: str, addresses: Collection[tuple[str, int]]
    ) -> dict[tuple[str, int], int]:
        """The position in `read` of the first copy of each of these rows; read as by `ids`.

        Rows that are not logged there are left out.
        """
        with self._table(key, columns=[0, 1]) as table:
            asked = pa.array({id for id, _ in addresses}, pa.string())
            here = pc.indices_nonzero(pc.is_in(table.column("prediction_id"), value_set=asked))
            found: dict[tuple[str, int], int] = {}
            ids, rows = _addresses(table.take(here))
            for address, position in zip(
                zip(ids, rows.tolist(), strict=True), here.to_pylist(), strict=True
            ):
                found.setdefault(address, position)
            return {
                address: position for address, position in found.items() if address in addresses
            }

    def answers(self, key: str) -> Answers:
        """The answer to each row, in the order of `read`; inputs are not read, nothing is checked.

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
                probabilities=np.array(answers.flatten().to_numpy()).reshape(
                    -1, answers.type.list_size
                ),
            )

    def state(self, key: str, digest: str, id: str) -> tuple[str, bytes] | None:
        """The version that answered in this running state, and the state's content.

        None where no row was answered in it. The file is searched unchecked, and checked when it
        holds the state. Raises `SegmentDamaged`.
        """
        with self._table(key) as table:
            if "state_content" not in table.schema.names:
                return None
            known = table.select(["version", "state", "state_content"])
            known.validate(full=True)
            holds = pc.and_(
                pc.equal(known.column("state"), id), known.column("state_content").is_valid()
            )
            found = known.filter(holds).slice(0, 1).to_pylist()
        if not found:
            return None
        self._check(key, digest)
        return found[0]["version"], found[0]["state_content"]

    def copies(self) -> list[str]:
        """The keys of the segments of a remote store that this machine has copies of."""
        return self._store.copies("segments")

    def delete_copy(self, key: str) -> None:
        """Delete this machine's copy; the store keeps its own."""
        self._store.evict(key)

    def delete(self, key: str) -> None:
        """Delete the file under `key`, if it is stored."""
        self._store.delete(key)

    def delete_all(self, model: str) -> None:
        """Delete all segments and tombstones of the model."""
        for key in self._store.list(f"segments/{model}") + self._store.list(f"erased/{model}"):
            self._store.delete(key)

    def _check(self, key: str, digest: str) -> None:
        """Read and check the whole file, once in a process. Raises `SegmentDamaged`."""
        if key not in self._checked:
            self.read(key, digest)
            if len(self._checked) >= MOST_CHECKED:
                self._checked.clear()
            self._checked.add(key)

    @contextmanager
    def _table(self, key: str, *, columns: list[int] | None = None) -> Iterator[pa.Table]:
        """The file's rows, memory-mapped for the block. Raises `SegmentDamaged`."""
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


def _key(model: str, id: str, times_erased: int) -> str:
    return f"segments/{model}/{id}{f'.e{times_erased}' if times_erased else ''}.arrow"


def _times_erased(key: str) -> int:
    found = re.search(r"\.e([0-9]+)\.arrow$", key)
    return int(found[1]) if found else 0


def _addresses(table: pa.Table) -> tuple[list[str], NDArray[np.int32]]:
    return table.column("prediction_id").to_pylist(), np.array(
        table.column("row").to_numpy(), dtype=np.int32
    )


def first_copies(prediction_id: list[str], row: NDArray[np.int32]) -> NDArray[np.intp]:
    """The positions, ascending, of the first copy of each (prediction id, row).

    A repeated id is logged again and not counted.
    """
    first: dict[tuple[str, int], int] = {}
    for position, address in enumerate(zip(prediction_id, row.tolist(), strict=True)):
        first.setdefault(address, position)
    return np.fromiter(first.values(), dtype=np.intp, count=len(first))


def deduplicate(rows: LoggedRows) -> LoggedRows:
    """The first copy of each (prediction id, row)."""
    positions = first_copies(list(rows.prediction_id), rows.row)
    return rows if len(positions) == len(rows) else rows.take(positions)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
