"""The command `doctor`: checks what other commands need."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from acclimate.cli import output
from acclimate.cli.connection import connect
from acclimate.cli.options import AsJson, Home, Url
from acclimate.client.errors import AccessError, ClientError, UnreachableError

GIB = 1024**3
LEAST_FREE = 2 * GIB


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check: its name, whether it passed, what was found, and the exit code when it failed."""

    check: str
    ok: bool
    found: str
    code: int = 1


def doctor(home: Home = None, url: Url = None, as_json: AsJson = False) -> None:
    """Check Python, torch, the disk, the service's address and the key. Exit 0 when all checks
    pass, else 6 (address), 5 (key) or 1.
    """
    from acclimate.settings import client_settings

    checks = [*machine(home or client_settings().home), *service(home, url)]
    if as_json:
        items = [{"check": check.check, "ok": check.ok, "found": check.found} for check in checks]
        output.print_json({"items": items, "next_page_token": None})
    else:
        rows = [(check.check, "ok" if check.ok else "bad", check.found) for check in checks]
        output.print_table(output.table(None, ("check", "state", "found"), rows))
    raise typer.Exit(max((check.code for check in checks if not check.ok), default=0))


def machine(home: Path) -> Iterator[Check]:
    """The checks of Python, torch (which is not imported) and the disk of the home."""
    yield Check(
        check="python",
        ok=sys.version_info >= (3, 11),
        found=f"{platform.python_version()}, 3.11 or newer is needed",
    )
    try:
        yield Check(check="torch", ok=True, found=importlib.metadata.version("torch"))
    except importlib.metadata.PackageNotFoundError:
        yield Check(
            check="torch", ok=False, found="not installed; the service and the worker need it"
        )
    folder = home.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    yield Check(
        check="disk",
        ok=free >= LEAST_FREE,
        found=f"{free / GIB:.1f} GiB free on the disk of {home}",
    )


def service(home: Path | None, url: str | None) -> Iterator[Check]:
    """The checks of the address and of the key."""
    try:
        client = connect(home, url)
    except UnreachableError as error:
        yield Check(check="address", ok=False, found=str(error), code=6)
        return
    with client:
        try:
            client.live()
            yield Check(check="address", ok=True, found=f"{client.url} answers")
        except ClientError as error:
            yield Check(check="address", ok=False, found=str(error), code=6)
            return
        try:
            client.status()
            yield Check(check="key", ok=True, found="accepted, has the scope view")
        except AccessError as error:
            yield Check(check="key", ok=False, found=str(error), code=5)
        except ClientError as error:
            yield Check(check="key", ok=False, found=f"could not be checked: {error}")
