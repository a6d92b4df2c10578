"""The events of a run, read from the service's server-sent events."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import httpx

from acclimate.client import replies
from acclimate.client.errors import Json, UnreachableError, problem

SILENT_SECONDS = 45.0
"""The service sends at least a comment every 15 s."""
RETRY_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event: `kind` is state, stage, progress, gate or end; `id` resumes after it."""

    id: str
    kind: str
    content: Json


def follow(
    http: httpx.Client, path: str, *, after: str | None = None, patience: float = 0.0
) -> Iterator[Event]:
    """Yield the events under `path` up to `end`, over as many connections as needed.

    A broken stream is resumed after its last event.

    Args:
        after: the id of the event to resume after.
        patience: seconds for which an unreachable service is tried again.

    Raises `UnreachableError`, and the class of `acclimate.client.errors` for an error reply.
    """
    received_at = time.monotonic()
    while True:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        try:
            with http.stream(
                "GET", path, headers=headers, timeout=httpx.Timeout(30.0, read=SILENT_SECONDS)
            ) as reply:
                if reply.status_code == 204:
                    return
                if reply.status_code >= 400 and reply.status_code != 503:
                    reply.read()
                    raise problem(reply.status_code, replies.body(reply))
                for event in parse(reply.iter_lines() if reply.status_code == 200 else ()):
                    after = event.id
                    received_at = time.monotonic()
                    yield event
                    if event.kind == "end":
                        return
                quiet = reply.status_code == 503
        except (httpx.RemoteProtocolError, httpx.ReadError):
            quiet = False  # the stream broke: the next connection resumes it
        except httpx.TransportError as error:
            if time.monotonic() - received_at >= patience:
                raise UnreachableError(replies.unreachable(str(http.base_url), error)) from error
            quiet = True
        if quiet and time.monotonic() - received_at >= max(patience, SILENT_SECONDS):
            raise UnreachableError(f"{http.base_url} is not ready")
        time.sleep(RETRY_SECONDS)


def parse(lines: Iterable[str]) -> Iterator[Event]:
    """The events in a stream's lines; comments and unknown fields are ignored."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield Event(
                id=fields.get("id", ""),
                kind=fields.get("event", "message"),
                content=json.loads(fields["data"]),
            )
            fields = {}
        else:
            fields = {}
