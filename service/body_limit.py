"""Limits the size of a request's body and the time until it is complete, regardless of its headers,
and its size again after decompression.
"""

from __future__ import annotations

import asyncio
import zlib

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Refusal

WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""The window bits of zlib for each Content-Encoding; HTTP's deflate is the zlib format."""
MODELS = "/api/v1/models"
MODEL_SECONDS = 600.0
"""The time limit for a new model with its seed set."""


class BodyLimit:
    """Raises 413 when a body has more than `most` bytes, and 408 when it is not complete within
    `seconds`.

    A new model may have `most_model` bytes, within `MODEL_SECONDS`.
    """

    def __init__(self, app: ASGIApp, *, most: int, most_model: int, seconds: float) -> None:
        self.app = app
        self.most = most
        self.most_model = most_model
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        model = scope["path"] == MODELS
        most = self.most_model if model else self.most
        seconds = max(self.seconds, MODEL_SECONDS) if model else self.seconds
        deadline = asyncio.get_running_loop().time() + seconds
        came, whole = 0, False

        async def receive_bounded() -> Message:
            nonlocal came, whole
            if whole:
                # The next message is a disconnect, which may come long after the body.
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                detail = f"the body was not complete within {seconds:g} seconds"
                raise HTTPException(408, detail, headers={"Connection": "close"}) from None
            came += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if came > most:
                raise HTTPException(413, _larger_than(most), headers={"Connection": "close"})
            return message

        await self.app(scope, receive_bounded, send)


async def whole_body(request: Request, *, most: int) -> bytes:
    """The body without its Content-Encoding, at most `most` bytes.

    Raises the refusals 400 for a body that does not match the header, 413 and 415.
    """
    body = await request.body()
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in WINDOW_BITS:
        raise Refusal(
            "unsupported-encoding",
            f"the encoding {encoding[:32]!r} is not supported: send it plain, gzip or deflate",
            headers={"Accept-Encoding": "gzip, deflate"},
        )
    inflater = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        inflated = inflater.decompress(body, most + 1)
    except zlib.error:
        raise Refusal("bad-request", f"the body is not {encoding}") from None
    if len(inflated) > most:
        raise Refusal("too-large", _larger_than(most))
    if not inflater.eof or inflater.unused_data:
        raise Refusal("bad-request", f"the body is not one complete {encoding} stream")
    return inflated


def _larger_than(most: int) -> str:
    return f"the body is larger than {most / 2**20:g} MiB: send the rows in several requests"
