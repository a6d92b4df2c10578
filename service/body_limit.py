"""Bounds a request's body while it streams in, whatever its headers say."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MODELS = "/api/v1/models"


class BodyLimit:
    """Raises 413 as soon as more than `most` bytes came; a new model with its seed set may have `most_model`."""

    def __init__(self, app: ASGIApp, *, most: int, most_model: int) -> None:
        self.app = app
        self.most = most
        self.most_model = most_model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = self.most_model if scope["path"] == MODELS else self.most
        came = 0

        async def receive_bounded() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > most:
                raise HTTPException(
                    413, f"the body is larger than {most / 2**20:g} MiB: send the rows in several requests"
                )
            return message

        await self.app(scope, receive_bounded, send)
