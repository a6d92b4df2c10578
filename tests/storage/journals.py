"""Rows to log, and disks that fail, forget or stop, for the tests of the journal."""

import errno
import os
import zlib

import numpy as np

from acclimate.storage.disk import Disk
from acclimate.storage.log.journal import Journal, read
from acclimate.storage.log.logged_rows import JournalSchema, LoggedRows, RequestRows

NOW = 1_800_000_000.0
SCHEMA = JournalSchema(kind="vector", shape=(2,), classes=3, model="gas", replica="api-0")


class Quick(Disk):
    """A disk without syncs, for tests that are not about power cuts."""

    def sync(self, file):
        pass

    def sync_folder(self, folder):
        pass


class Narrow(Quick):
    """A disk with room for so many bytes of one file; beyond, it writes what fits and then refuses,
    as real ones do.
    """

    def __init__(self, room, error=errno.ENOSPC):
        self.room, self.error = room, error

    def write(self, file, data, offset):
        fits = min(len(data), self.room - offset)
        if fits <= 0:
            raise OSError(self.error, os.strerror(self.error))
        return super().write(file, data[:fits], offset)


class LosesSyncs(Quick):
    """A disk whose next sync fails once, and which would call every later one good."""

    failing = False

    def sync(self, file):
        if self.failing:
            self.failing = False
            raise OSError(errno.EIO, os.strerror(errno.EIO))


class Forgetful(Disk):
    """A disk that remembers what a power cut would leave: file contents as last synced, names as
    the folder was last synced.
    """

    def __init__(self):
        self.contents, self.names = {}, {}

    def create(self, path):
        file = super().create(path)
        self.contents[os.fstat(file).st_ino] = b""
        return file

    def sync(self, file):
        self.contents[os.fstat(file).st_ino] = os.pread(file, os.fstat(file).st_size, 0)

    def sync_folder(self, folder):
        self.names = {path.name: path.stat().st_ino for path in folder.iterdir()}

    def after_power_cut(self, folder):
        folder.mkdir()
        for name, inode in self.names.items():
            (folder / name).write_bytes(self.contents[inode])
        return folder


class Killed(BaseException):
    """The process dies here."""


class Dying(Quick):
    """A disk under a process that dies before its n-th change."""

    def __init__(self, n):
        self.left = n

    def _step(self):
        if self.left == 0:
            raise Killed
        self.left -= 1

    def create(self, path):
        self._step()
        return super().create(path)

    def write(self, file, data, offset):
        self._step()
        half = super().write(file, data[: len(data) // 2], offset) if len(data) > 1 else 0
        self._step()
        return half + super().write(file, data[half:], offset + half)

    def rename(self, old, new):
        self._step()
        super().rename(old, new)

    def remove(self, path):
        self._step()
        super().remove(path)


def rows(prediction_id, n=1, *, subject=None, at=NOW):
    x = np.random.default_rng(zlib.crc32(prediction_id.encode())).random((n, 2), dtype=np.float32)
    return LoggedRows.of_request(
        RequestRows(
            prediction_id=prediction_id,
            version="1",
            logged_at=at,
            client="key-1",
            subject=subject,
            x=x,
            probabilities=np.full((n, 3), 1 / 3, np.float32),
        )
    )


def same(left, right):
    """Equal in every column, value by value and bit by bit."""
    return (
        list(left.prediction_id) == list(right.prediction_id)
        and list(left.version) == list(right.version)
        and list(left.client) == list(right.client)
        and list(left.subject) == list(right.subject)
        and all(
            getattr(left, name).tolist() == getattr(right, name).tolist()
            and getattr(left, name).dtype == getattr(right, name).dtype
            and getattr(left, name).shape == getattr(right, name).shape
            for name in ("row", "logged_at", "x", "probabilities")
        )
    )


def left_behind(folder, *batches, disk=None):
    """The path of an open file whose writer is dead, and where each of its batches ends."""
    journal = Journal.open(folder, SCHEMA, NOW, disk=disk or Quick())
    ends = [journal.bytes]
    for batch in batches:
        journal.append(batch)
        ends.append(journal.bytes)
    journal.close()
    return journal.path, ends


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def ids(path):
    return list(read(path).prediction_id)


THREE = (rows("a", 2, subject="s-1"), rows("b"), rows("c", 3))
