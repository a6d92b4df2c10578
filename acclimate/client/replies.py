"""Error replies of the service: their document, their Retry-After, their message."""

from __future__ import annotations

import httpx

from acclimate.client.errors import Json

LONGEST_PAUSE = 5.0


def body(reply: httpx.Response) -> Json:
    """The document of an error reply; its status line where it has no document."""
    try:
        found = reply.json()
    except ValueError:
        found = None
    return (
        found
        if isinstance(found, dict)
        else {"detail": f"{reply.status_code} {reply.reason_phrase}"}
    )


def pause(reply: httpx.Response) -> float:
    """Seconds to wait before a retry, at most `LONGEST_PAUSE`."""
    try:
        return min(LONGEST_PAUSE, max(0.0, float(reply.headers.get("Retry-After", "1"))))
    except ValueError:
        return 1.0


def unreachable(url: str, error: httpx.TransportError) -> str:
    """The message for a request without a reply."""
    reason = (
        "no reply in time"
        if isinstance(error, httpx.TimeoutException)
        else str(error) or type(error).__name__
    )
    return f"cannot reach {url}: {reason}"
