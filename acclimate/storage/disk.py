"""The disk operations of a journal, in one class: tests replace it by one that fails or forgets."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Disk:
    """Every change that a journal makes to the disk."""

    def create(self, path: Path) -> int:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o640)

    def write(self, file: int, data: bytes | memoryview, offset: int) -> int:
        return os.pwrite(file, data, offset)

    def sync(self, file: int) -> None:
        os.fdatasync(file)

    def truncate(self, file: int, size: int) -> None:
        os.ftruncate(file, size)

    def rename(self, old: Path, new: Path) -> None:
        old.replace(new)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def replace(path: Path, data: bytes, disk: Disk) -> None:
    """Write these bytes durably to `path`; at every moment it holds the old bytes or these."""
    temporary = path.with_name(f"{path.name}.tmp")
    disk.remove(temporary)
    file = disk.create(temporary)
    try:
        write_all(disk, file, data, 0)
        disk.sync(file)
    finally:
        os.close(file)
    disk.rename(temporary, path)
    disk.sync_folder(path.parent)


def sync_file(path: Path, disk: Disk) -> None:
    """Make the file's content durable."""
    file = os.open(path, os.O_RDONLY)
    try:
        disk.sync(file)
    finally:
        os.close(file)


def write_all(disk: Disk, file: int, data: bytes, offset: int) -> None:
    """Write all of `data`. A full disk gives a short write first and an error at the next."""
    view = memoryview(data)
    while view:
        written = disk.write(file, view, offset)
        if written <= 0:
            raise OSError(errno.EIO, "nothing was written")
        view, offset = view[written:], offset + written


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on the folder for the block."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Lock the file for the block, if no other process holds it; yields whether it is locked."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = path.exists()  # its writer may have sealed it between open and lock
        except BlockingIOError:
            free = False
        yield free
    finally:
        os.close(file)
