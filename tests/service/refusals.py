"""The format of refusals on both sides of the API."""

from __future__ import annotations

import httpx


def problem(reply: httpx.Response, status: int) -> list[tuple[str, str]]:
    """The (pointer, detail) pairs of an RFC 9457 answer."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    body = reply.json()
    assert (
        body["status"] == status
        and body["type"].startswith("/problems/")
        and body["title"]
        and body["detail"]
    )
    assert body["request_id"] == reply.headers["x-request-id"]
    return [(error["pointer"], error["detail"]) for error in body.get("errors", [])]


def inference_error(reply: httpx.Response, status: int) -> str:
    assert reply.status_code == status, reply.text
    assert list(reply.json()) == ["error"]
    return reply.json()["error"]
