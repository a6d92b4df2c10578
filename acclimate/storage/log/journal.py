"""One replica's open log file of one model: an Arrow IPC stream, one record batch a group commit.

`<id>.open.arrow` is being written, `<id>.arrow` is sealed and waits to be moved to the store,
`<id>.<offset>.bad` could not be read. The writer holds an `flock` on the file; one on the folder
excludes creation and recovery from each other.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from ulid import ULID

from acclimate.storage.disk import Disk, claimed, locked, replace, sync_file, write_all
from acclimate.storage.log import frames
from acclimate.storage.log.logged_rows import JournalSchema, LoggedRows, UnknownFormat
from acclimate.storage.store import make_folders

__all__ = [
    "Disk",
    "Journal",
    "JournalDamaged",
    "JournalFailed",
    "JournalFull",
    "JournalSchema",
    "LoggedRows",
]
__all__ += ["Recovery", "SealedFile", "read", "recover"]

OPEN = ".open.arrow"
SEALED = ".arrow"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class JournalFailed(Exception):
    """The rows were not logged, or not durably; the cause is the disk's error.

    Rows logged before are still there.
    """


class JournalFull(JournalFailed):
    """The rows were not logged: disk, quota or file is full.

    The journal continues once there is room.
    """


class JournalDamaged(Exception):
    """A sealed file does not hold what was written; the message names file and batch."""


@dataclass(frozen=True, kw_only=True)
class SealedFile:
    """A log file that is whole, durable and never written again.

    Times are unix seconds; `digest` is "sha256:<hex>".
    """

    id: str
    path: Path
    rows: int
    bytes: int
    digest: str
    first_logged_at: float
    last_logged_at: float


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What dead writers left in a folder: sealed files to store, and files with damaged parts.

    `quarantined` lists every such file in the folder, so that an alarm outlives a restart until an
    operator removes them. `torn_bytes` has, by id, the bytes of an unfinished last batch that was
    dropped.
    """

    sealed: list[SealedFile] = field(default_factory=list)
    quarantined: list[Path] = field(default_factory=list)
    torn_bytes: dict[str, int] = field(default_factory=dict)


class Journal:
    """An open log file. Rows survive the process after `append`, a power cut after `sync`.

    For one thread at a time. After a failed `sync` no rows are appended: the kernel may have
    dropped any unsynced page, and a second sync would report success. `seal` then keeps what can
    still be read.
    """

    def __init__(self, folder: Path, schema: JournalSchema, now: float, disk: Disk) -> None:
        self.id = str(ULID.from_timestamp(now))
        self.rows = 0
        self.path = folder / f"{self.id}{OPEN}"
        self._schema = schema
        self._disk = disk
        self._file = -1
        self._failed: OSError | None = None
        self._sealed: SealedFile | None = None
        self._first, self._last = float("inf"), float("-inf")
        header = frames.header(schema.arrow, self.id)
        self.bytes = len(header)
        self._digest = hashlib.sha256(header)
        self._create(header)

    @staticmethod
    def open(
        folder: Path, schema: JournalSchema, now: float, *, disk: Disk | None = None
    ) -> Journal:
        """A new, empty journal in `folder`, which is made when missing; `now` in unix seconds.

        Raises `JournalFailed`.
        """
        try:
            make_folders(folder)
        except OSError as error:
            raise JournalFailed(f"the folder {folder} cannot be made: {error.strerror}") from error
        return Journal(folder, schema, now, disk or Disk())

    def accepts(self, rows: LoggedRows) -> bool:
        """Whether the file has the columns of these rows: running state needs three more."""
        return rows.state is None or self._schema.states

    def append(self, rows: LoggedRows) -> None:
        """Append the rows as one batch: all of them or, when it raises, none.

        Raises `JournalFull`, `JournalFailed`, and ValueError for rows that do not fit the schema.
        """
        if self._failed is not None or self._file < 0:
            raise JournalFailed(
                f"journal {self.id} takes no more rows: seal it and open another"
            ) from self._failed
        if len(rows) == 0:
            return
        message = frames.frame(self._schema.batch(rows), self.id)
        self._write(message)
        self.bytes += len(message)
        self.rows += len(rows)
        self._digest.update(message)
        self._first = min(self._first, float(rows.logged_at.min()))
        self._last = max(self._last, float(rows.logged_at.max()))

    def sync(self) -> None:
        """Make durable what was appended so far. Raises `JournalFailed`, from then on always."""
        if self._failed is not None or self._file < 0:
            raise JournalFailed(
                f"journal {self.id} cannot be made durable: seal it"
            ) from self._failed
        try:
            self._disk.sync(self._file)
        except OSError as error:
            self._failed = error
            raise JournalFailed(
                f"journal {self.id} could not be synced: {error.strerror}"
            ) from error

    def seal(self) -> SealedFile | None:
        """Close the file, durable, under its final name; None, and no file, without rows.

        Repeating gives the same answer. Raises `JournalFailed`, `JournalFull`; `seal` or `recover`
        find the open file afterwards.
        """
        if self._file < 0:
            return self._sealed
        try:
            if self._failed is not None:
                self._sealed = self._save()
            elif self.rows == 0:
                self._disk.remove(self.path)
                self._disk.sync_folder(self.path.parent)
            else:
                self._write(frames.END)
                self.sync()
                self._sealed = self._named(self.path.with_name(f"{self.id}{SEALED}"))
        except OSError as error:
            raise JournalFailed(
                f"journal {self.id} could not be sealed: {error.strerror}"
            ) from error
        self.close()
        return self._sealed

    def close(self) -> None:
        """Release the file as it is, for `recover`; nothing more is written to it."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _create(self, header: bytes) -> None:
        """Create the file, locked and with a durable header: one without was damaged later."""
        folder = self.path.parent
        temporary = self.path.with_name(f"{self.id}.tmp")
        try:
            with locked(folder):
                self._file = self._disk.create(temporary)
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                write_all(self._disk, self._file, header, 0)
                self._disk.sync(self._file)
                self._disk.rename(temporary, self.path)
                self._disk.sync_folder(folder)
        except OSError as error:
            self.close()
            temporary.unlink(missing_ok=True)
            kind = JournalFull if error.errno in FULL else JournalFailed
            raise kind(f"no journal can be opened in {folder}: {error.strerror}") from error

    def _write(self, data: bytes) -> None:
        try:
            write_all(self._disk, self._file, data, self.bytes)
        except OSError as error:
            try:
                self._disk.truncate(self._file, self.bytes)
            except OSError:  # the torn tail remains: nothing may follow it
                self._failed = error
            kind = JournalFull if error.errno in FULL else JournalFailed
            raise kind(f"journal {self.id} could not be written: {error.strerror}") from error

    def _named(self, path: Path) -> SealedFile:
        self._disk.rename(self.path, path)
        self.path = path
        self._disk.sync_folder(path.parent)
        self._digest.update(frames.END)
        return SealedFile(
            id=self.id,
            path=path,
            rows=self.rows,
            bytes=self.bytes + len(frames.END),
            digest=f"sha256:{self._digest.hexdigest()}",
            first_logged_at=self._first,
            last_logged_at=self._last,
        )

    def _save(self) -> SealedFile | None:
        """Seal after a failure: copy what is whole to a new file, whose sync can be trusted."""
        with locked(self.path.parent):
            return _repair(self.path, self._disk, Recovery(), copy=True)


def recover(folder: Path, *, disk: Disk | None = None) -> Recovery:
    """Seal every file that dead writers left in `folder`, with each whole batch.

    Files of live writers are left alone. A torn tail of an open file is dropped. A damaged batch
    before a whole one, and any damage in a sealed file, is copied to a `.bad` file and reported.
    Repeating, also after a crash, gives the same files.
    """
    disk, recovery = disk or Disk(), Recovery()
    if not folder.is_dir():
        return recovery
    with locked(folder):
        for path in folder.glob("*.tmp"):
            disk.remove(path)
        for path in sorted(folder.glob(f"*{SEALED}")):
            with claimed(path) as free:
                sealed = _repair(path, disk, recovery) if free else None
            recovery.sealed.extend([sealed] if sealed is not None else [])
        recovery.quarantined.extend(sorted(folder.glob("*.bad")))
    return recovery


def read(path: Path) -> LoggedRows:
    """All rows of a sealed file, every batch checked; of an open one, those appended so far.

    Raises `JournalDamaged` with the file and the first batch that is not whole.
    """
    contents = _contents(path)
    layout = frames.scan(contents)
    if layout is None:
        raise JournalDamaged(f"{path.name}: its header is damaged")
    broken = layout.damaged[0].start if layout.damaged else layout.tail.start
    if layout.damaged or not (layout.ended or path.name.endswith(OPEN)):
        batch = sum(span.end <= broken for span in layout.frames)
        raise JournalDamaged(f"{path.name}: batch {batch}, at byte {broken}, is not whole")
    try:
        schema = JournalSchema.of_arrow(layout.schema)
    except UnknownFormat as error:
        raise JournalDamaged(f"{path.name}: {error}") from error
    return schema.rows([frames.decode(contents, span, schema.arrow) for span in layout.frames])


def write(
    path: Path, id: str, schema: JournalSchema, rows: LoggedRows, *, disk: Disk | None = None
) -> SealedFile:
    """Write a sealed file of these rows, at least one, to `path`, replacing it atomically."""
    replace(
        path,
        frames.header(schema.arrow, id) + frames.frame(schema.batch(rows), id) + frames.END,
        disk or Disk(),
    )
    return _describe(path, id)


def schema_of(path: Path) -> JournalSchema:
    """The schema of a sealed file. Raises `JournalDamaged`."""
    layout = frames.scan(_contents(path))
    if layout is None or not _readable(layout):
        raise JournalDamaged(f"{path.name}: its header is damaged")
    return JournalSchema.of_arrow(layout.schema)


def describe(path: Path, id: str) -> SealedFile:
    """The description of a sealed file that is whole and has rows. Raises `JournalDamaged`."""
    read(path)
    return _describe(path, id)


def _repair(path: Path, disk: Disk, recovery: Recovery, *, copy: bool = False) -> SealedFile | None:
    """Seal the file with its whole batches, and copy the damage aside; None without batches.

    The folder is locked.
    """
    was_open = path.name.endswith(OPEN)
    name = path.name.removesuffix(OPEN if was_open else SEALED)
    contents = _contents(path)
    layout = frames.scan(contents)
    if layout is None or not _readable(layout):
        disk.rename(path, path.with_name(f"{name}.0.bad"))
        disk.sync_folder(path.parent)
        return None
    damaged = list(layout.damaged)
    if not layout.ended and was_open and layout.tail.end > layout.tail.start:
        recovery.torn_bytes[name] = layout.tail.end - layout.tail.start
    elif not layout.ended and not was_open:
        damaged.append(layout.tail)
    for span in damaged:
        replace(path.with_name(f"{name}.{span.start}.bad"), _bytes(contents, [span]), disk)
    if not layout.frames:
        disk.remove(path)
        disk.sync_folder(path.parent)
        return None
    if copy or damaged or not layout.ended:
        replace(path, _bytes(contents, [layout.header, *layout.frames]) + frames.END, disk)
    else:
        sync_file(path, disk)
    sealed = path.with_name(f"{name}{SEALED}")
    if was_open:
        disk.rename(path, sealed)
    disk.sync_folder(path.parent)
    return _describe(sealed, name)


def _readable(layout: frames.Layout) -> bool:
    try:
        JournalSchema.of_arrow(layout.schema)
    except UnknownFormat:
        return False
    return True


def _describe(path: Path, name: str) -> SealedFile:
    contents = _contents(path)
    layout = frames.scan(contents)
    assert layout is not None, "repaired just now"
    batches = [frames.decode(contents, span, layout.schema) for span in layout.frames]
    times = [batch.column("logged_at").to_numpy() for batch in batches]
    return SealedFile(
        id=name,
        path=path,
        rows=sum(batch.num_rows for batch in batches),
        bytes=contents.size,
        digest=f"sha256:{hashlib.sha256(contents).hexdigest()}",
        first_logged_at=float(min(time.min() for time in times)),
        last_logged_at=float(max(time.max() for time in times)),
    )


def _contents(path: Path) -> pa.Buffer:
    """The bytes of the file: mapped when sealed, else copied.

    A mapped file that its writer truncates would kill the reader.
    """
    if path.name.endswith(OPEN) or path.stat().st_size == 0:
        return pa.py_buffer(path.read_bytes())
    with pa.memory_map(str(path)) as file:
        return file.read_buffer()


def _bytes(contents: pa.Buffer, spans: list[frames.Span]) -> bytes:
    view = memoryview(contents)
    return b"".join(view[span.start : span.end] for span in spans)
