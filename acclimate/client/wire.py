"""Requests and replies of one service: retries, errors as exceptions, pages, ETags."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict, Unpack

import httpx

from acclimate.client import replies
from acclimate.client.errors import Json, UnreachableError, problem
from acclimate.client.events import Event, follow

BUSY_RETRIES = 6
RETRY_SECONDS = 0.25

Parts = list[tuple[str, tuple[str, bytes]]]
"""The parts of a multipart request: part name, file name and content."""


class Options(TypedDict, total=False):
    """What a request has besides method and path; `timeout` in seconds."""

    params: Mapping[str, Any]
    json: Any
    files: Parts
    headers: Mapping[str, str]
    timeout: float


class Wire:
    """The connections to one service with one key.

    Args:
        patience: seconds for which an unreachable service is tried again.
        timeout: seconds for which a reply is waited for.
    """

    def __init__(self, url: str, key: str | None, *, patience: float, timeout: float) -> None:
        self.url = url.rstrip("/")
        self._patience = patience
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        repeatable: bool | None = None,
        **options: Unpack[Options],
    ) -> httpx.Response:
        """The reply, with a status below 400.

        Args:
            repeatable: whether the request may be sent again after a connection broke; by default
                only a GET. A refused connection is always tried again.

        Raises `UnreachableError`, and the class of `acclimate.client.errors` for an error reply.
        """
        end = time.monotonic() + self._patience
        busy = 0
        while True:
            try:
                reply = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                may_repeat = method == "GET" if repeatable is None else repeatable
                refused = isinstance(error, httpx.ConnectError)
                if not (refused or may_repeat) or time.monotonic() >= end:
                    raise UnreachableError(replies.unreachable(self.url, error)) from error
                time.sleep(RETRY_SECONDS)
                continue
            if reply.status_code in (429, 503) and busy < BUSY_RETRIES:
                busy += 1
                time.sleep(replies.pause(reply))
                continue
            if reply.status_code == 503:
                reason = problem(503, replies.body(reply))
                raise UnreachableError(f"{self.url} is not ready: {reason}")
            if reply.status_code >= 400:
                location = reply.headers.get("Location")
                raise problem(reply.status_code, replies.body(reply), location=location)
            return reply

    def json(
        self,
        method: str,
        path: str,
        *,
        repeatable: bool | None = None,
        **options: Unpack[Options],
    ) -> Json:
        """The JSON document of the reply. Raises as `request` does."""
        reply = self.request(method, path, repeatable=repeatable, **options)
        try:
            body: Json = reply.json()
        except ValueError:
            raise UnreachableError(
                f"the reply of {self.url} to {path} is not JSON: is it acclimate?"
            ) from None
        return body

    def items(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[Json]:
        """The items of a list, over all its pages."""
        query = dict(params or {})
        while True:
            page = self.json("GET", path, params=query)
            yield from page["items"]
            if not page.get("next_page_token"):
                return
            query["page_token"] = page["next_page_token"]

    def tagged(self, path: str) -> tuple[Json, str]:
        """The JSON document under `path`, and its ETag."""
        reply = self.request("GET", path)
        return reply.json(), reply.headers.get("ETag", "")

    def events(self, path: str, *, after: str | None) -> Iterator[Event]:
        """The server-sent events under `path`, see `events.follow`."""
        return follow(self._http, path, after=after, patience=self._patience)
