"""Bounds a request's body in size and time while it streams in, whatever its headers say, and again
while it is inflated.
"""

from __future__ import annotations

import asyncio
import zlib

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Refusal

WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""What zlib calls the two encodings: deflate is the zlib format, as HTTP says and clients send it.
"""
MODELS = "/api/v1/models"


MODEL_SECONDS = 600.0


class BodyLimit:
    """Raises 413 as soon as more than `most` bytes came, 408 when the whole body did not come
    within `seconds`.

    A new model with its seed set may have `most_model`, in ten minutes.
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
            if (
                whole
            ):  # what comes now is that the client went away, for which an answer may wait long
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                detail = f"the body did not come within {seconds:g} seconds"
                raise HTTPException(408, detail, headers={"Connection": "close"}) from None
            came += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if came > most:
                raise HTTPException(413, _larger_than(most), headers={"Connection": "close"})
            return message

        await self.app(scope, receive_bounded, send)


async def whole_body(request: Request, *, most: int) -> bytes:
    """The body as its sender had it before Content-Encoding, at most `most` bytes.

    Raises the refusals 400 for a body that is not what the header says, 413 and 415.
    """
    body = await request.body()
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in WINDOW_BITS:
        raise Refusal(
            "unsupported-encoding",
            f"the body has the encoding {encoding[:32]!r}: send it plain, or as gzip or deflate",
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
        raise Refusal("bad-request", f"the body is not one whole {encoding} stream")
    return inflated


def _larger_than(most: int) -> str:
    return f"the body is larger than {most / 2**20:g} MiB: send the rows in several requests"
