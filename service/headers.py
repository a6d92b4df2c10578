"""Adds the request's id and the security headers to every reply."""

from __future__ import annotations

import secrets

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src "
    "'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
DOCS_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com; font-src "
    "https://fonts.gstatic.com; "
    "img-src 'self' data: https://fastapi.tiangolo.com; worker-src blob:; connect-src 'self'; "
    "frame-ancestors 'none'"
)
"""The policy of FastAPI's documentation pages, which load scripts from other hosts; they contain no
key and no row.
"""
DOCS = ("/docs", "/redoc")
FIXED = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


class Headers:
    """Gives each request an id, in its log lines and in the header X-Request-ID, and each reply the
    fixed headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        policy = DOCS_POLICY if scope["path"] in DOCS else POLICY
        more = [
            (b"x-request-id", request_id.encode()),
            (b"content-security-policy", policy.encode()),
            *FIXED,
        ]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message.get("headers", ())
                named = {name.lower() for name, _ in own}
                message["headers"] = [
                    *own,
                    *((name, value) for name, value in more if name not in named),
                ]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self.app(scope, receive, send_with_headers)
