"""What a reply of the service says, and what to do about one that says no."""

from __future__ import annotations

import httpx

from acclimate.client.errors import Json

LONGEST_PAUSE = 5.0


def body(reply: httpx.Response) -> Json:
    """The document of an answer of 400 or above; of one that holds none, its status in words."""
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
    """Seconds after which a 503 wants to be asked again."""
    try:
        return min(LONGEST_PAUSE, max(0.0, float(reply.headers.get("Retry-After", "1"))))
    except ValueError:
        return 1.0


def unreachable(url: str, error: httpx.TransportError) -> str:
    """Why no answer came, in words."""
    said = (
        "it did not answer in time"
        if isinstance(error, httpx.TimeoutException)
        else str(error) or type(error).__name__
    )
    return f"cannot reach {url}: {said}"
