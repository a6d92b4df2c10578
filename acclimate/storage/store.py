"""Files under keys, on a disk or in an object store: segments, artifacts and seed sets.

They are immutable but for the log lines of runs.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec

Keys = list[str]
KEY = re.compile(r"[A-Za-z0-9._/-]+")


class StoreError(Exception):
    """The store cannot do this; the message names the key or address, and what would be right."""


class StoreMissing(StoreError):
    """No file is stored under this key."""


class Store:
    """Files under relative keys below `url`.

    `url` is `file:///absolute/path`, `memory://name` or `s3://bucket/prefix`. A key holds nothing
    or a whole file: writers use a temporary name. On `file://` a write is durable when it returns.
    Files of other file systems are read through copies in the folder `cache`.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self.url = url
        self._cache = cache
        parts = urlsplit(url)
        self._folder: Path | None = None
        if not parts.scheme:
            raise StoreError(
                f"{url!r} is not an address: write file:///absolute/path, memory://name or "
                f"s3://bucket/prefix"
            )
        if parts.scheme == "file":
            if parts.netloc or not parts.path.startswith("/"):
                raise StoreError(
                    f"{url!r} is not absolute: write three slashes, as in file:///var/lib/acclimate"
                )
            self._folder = Path(unquote(parts.path)).resolve()
            return
        try:
            self._remote, self._root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise StoreError(f"{url!r} cannot be opened: {error}") from error

    def put_file(self, local: Path, key: str, *, immutable: bool = False) -> None:
        """Store the bytes of the file `local`, which stays, under `key`.

        With `immutable`, `local` is never written again: a store on the same disk may share its
        blocks.
        """
        _check(key)
        if self._folder is None:
            self._remote.makedirs(self._remote._parent(self._address(key)), exist_ok=True)
            self._remote.put_file(str(local), self._address(key))
            return
        with _arriving(self._path(key)) as temporary:
            if not (immutable and _linked(local, temporary)):
                shutil.copyfile(local, temporary)

    def put_bytes(self, data: bytes, key: str) -> None:
        """Store these bytes under `key`."""
        _check(key)
        if self._folder is None:
            self._remote.makedirs(self._remote._parent(self._address(key)), exist_ok=True)
            self._remote.pipe_file(self._address(key), data)
            return
        with _arriving(self._path(key)) as temporary:
            temporary.write_bytes(data)

    def get_bytes(self, key: str) -> bytes:
        """The bytes stored under `key`, not from a local copy. Raises `StoreMissing`."""
        _check(key)
        try:
            if self._folder is not None:
                return self._path(key).read_bytes()
            return bytes(self._remote.cat_file(self._address(key)))
        except FileNotFoundError:
            raise StoreMissing(f"{key} is not in {self.url}") from None

    def local(self, key: str) -> Path:
        """The path of a local file with the bytes of `key`. Raises `StoreMissing`.

        The file must not be written to.
        """
        _check(key)
        if self._folder is not None:
            path = self._path(key)
            if not path.is_file():
                raise StoreMissing(f"{key} is not in {self.url}")
            return path
        path = self._cache / key
        if not path.is_file():
            with _arriving(path) as temporary:
                try:
                    self._remote.get_file(self._address(key), str(temporary))
                except FileNotFoundError:
                    raise StoreMissing(f"{key} is not in {self.url}") from None
        return path

    @contextmanager
    def scratch_folder(self) -> Iterator[Path]:
        """A new folder on the local disk, deleted at the end of the block."""
        make_folders(self._cache)
        with tempfile.TemporaryDirectory(dir=self._cache, prefix=".") as folder:
            yield Path(folder)

    def evict(self, key: str) -> None:
        """Delete the local copy of `key`; `file://` has none."""
        _check(key)
        if self._folder is None:
            (self._cache / key).unlink(missing_ok=True)

    def copies(self, prefix: str) -> Keys:
        """The keys below the folder `prefix` that have a local copy, sorted; `file://` has none."""
        _check(prefix)
        found = [] if self._folder is not None else (self._cache / prefix).rglob("*")
        keys = [path.relative_to(self._cache).as_posix() for path in found if path.is_file()]
        return sorted(
            key
            for key in keys
            if KEY.fullmatch(key) and not any(part[0] == "." for part in key.split("/"))
        )

    def exists(self, key: str) -> bool:
        """Whether a file is stored under `key`."""
        _check(key)
        return (
            self._path(key).is_file()
            if self._folder is not None
            else bool(self._remote.isfile(self._address(key)))
        )

    def size(self, key: str) -> int:
        """Bytes of the file. Raises `StoreMissing`."""
        if not self.exists(key):
            raise StoreMissing(f"{key} is not in {self.url}")
        return (
            self._path(key).stat().st_size
            if self._folder is not None
            else int(self._remote.size(self._address(key)))
        )

    def delete(self, key: str) -> None:
        """Delete the file under `key`, if it is stored."""
        _check(key)
        if self._folder is not None:
            path = self._path(key)
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                sync_folder(path.parent)
            return
        self.evict(key)
        if self._remote.isfile(self._address(key)):
            self._remote.rm_file(self._address(key))

    def list(self, prefix: str = "") -> Keys:
        """Every key below the folder `prefix` (default: all), sorted; none for a missing folder."""
        prefix = prefix.rstrip("/")
        if prefix:
            _check(prefix)
        if self._folder is not None:
            top = self._path(prefix) if prefix else self._folder
            keys = [
                path.relative_to(self._folder).as_posix()
                for path in top.rglob("*")
                if path.is_file()
            ]
        else:
            root = self._root.rstrip("/")
            above = self._address(prefix) if prefix else root
            found: Keys = self._remote.find(above) if self._remote.exists(above) else []
            keys = [address.removeprefix(root).lstrip("/") for address in found]
        return sorted(
            key for key in keys if not any(part.startswith(".") for part in key.split("/"))
        )

    def _address(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{key}"

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        path = self._folder / key
        if not path.resolve().is_relative_to(self._folder):
            raise StoreError(f"{key!r} leads out of the store through a link")
        return path


def _check(key: str) -> None:
    """Raise `StoreError` unless `key` is one: no key reaches another folder."""
    if not KEY.fullmatch(key) or any(not part or part.startswith(".") for part in key.split("/")):
        raise StoreError(
            f"{key!r} is not a key: use parts of A-Z a-z 0-9 . _ - joined by single slashes, "
            f"none empty or beginning with a dot"
        )


@contextmanager
def _arriving(path: Path) -> Iterator[Path]:
    """A temporary path; its file is moved to `path`, durably, if the block does not raise."""
    make_folders(path.parent)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        _sync(temporary, os.O_RDONLY)
        # POSIX: a rename onto another name of the same file does nothing, hence the unlink below.
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _linked(local: Path, temporary: Path) -> bool:
    """Make `temporary` a hard link to `local`; False where the file system cannot."""
    try:
        os.link(local, temporary)
    except OSError:  # another disk, or a file system without links
        return False
    return True


def make_folders(folder: Path) -> None:
    """Like `mkdir -p`; every new entry is durable."""
    missing: list[Path] = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        sync_folder(new.parent)


def sync_folder(folder: Path) -> None:
    """Make names that were created, renamed or removed in `folder` durable."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    handle: Any = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
