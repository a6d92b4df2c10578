"""The service that a command uses, and the key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from acclimate.client.errors import UnreachableError
from acclimate.client.http import Client

if TYPE_CHECKING:
    from acclimate.settings import ClientSettings


def connect(home: Path | None, url: str | None, *, patience: float = 0.0) -> Client:
    """A client of the service that the options or the environment name.

    In this order: `--home`; `--url` or ACCLIMATE_URL with ACCLIMATE_API_KEY; the home of
    ACCLIMATE_HOME (default .acclimate). The key of a home is sent only to that home's address.
    Raises `UnreachableError` when the home has no address.
    """
    address, key = target(home, url)
    return Client(address, key, patience=patience)


def target(home: Path | None, url: str | None) -> tuple[str, str | None]:
    """The address and the key that `connect` uses."""
    from acclimate.settings import client_settings

    settings = client_settings()
    if home is None and (url or settings.url):
        return str(url or settings.url), _given_key(settings)
    folder = home or settings.home
    address, key = read_home(folder)
    return address, key or _given_key(settings)


def read_home(home: Path) -> tuple[str, str | None]:
    """Address and admin key of the embedded service in this home.

    The key is None where it cannot be read. Raises `UnreachableError` without an address.
    """
    try:
        address = (home / "url").read_text(encoding="utf-8").strip()
    except OSError:
        raise UnreachableError(
            f"{home / 'url'} does not exist: start `acclimate up --home {home}`, or set "
            f"ACCLIMATE_URL and ACCLIMATE_API_KEY"
        ) from None
    try:
        key = (home / "admin.key").read_text(encoding="utf-8").strip()
    except OSError:
        return address, None
    return address, key or None


def _given_key(settings: ClientSettings) -> str | None:
    return settings.api_key.get_secret_value() if settings.api_key is not None else None
