"""The parameters that several routes share: state, keys by scope, page sizes, ETags and ids."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Query

from acclimate.learning.spec import Problem
from acclimate.storage.registry.keys import Key
from service.auth import Scope
from service.control import documents
from service.errors import Refusal
from service.state import ServiceState, service_state

State = Annotated[ServiceState, Depends(service_state)]
ViewKey = Annotated[Key, Depends(Scope("view"))]
FeedbackKey = Annotated[Key, Depends(Scope("feedback"))]
OperateKey = Annotated[Key, Depends(Scope("operate"))]
AdminKey = Annotated[Key, Depends(Scope("admin"))]
IfMatch = Annotated[str | None, Header()]
PageSize = Annotated[int, Query(ge=1, le=1000)]


def invalid(pointer: str, detail: str) -> Refusal:
    """The 422 refusal for one wrong part of a request, at this JSON pointer."""
    return Refusal("invalid", "the request is wrong", problems=[Problem(pointer, detail)])


def etag_number(if_match: str | None) -> int:
    """The number in an If-Match header.

    Raises the 428 refusal without the header, and 412 for a value that no reply contained.
    """
    if if_match is None:
        raise Refusal("precondition-required", "send If-Match with the ETag of what you saw")
    number = documents.number(if_match.removeprefix("W/").strip('"'), digits=18)
    if number is None:
        raise Refusal("epoch-moved", f"{if_match[:64]!r} is not an ETag of this resource")
    return number


def page_after(token: str | None, *, first: int = -1) -> int:
    """The number after which a page begins; `first` without a token. Raises the 422 refusal."""
    after = documents.number(token, digits=15) if token is not None else first
    if after is None:
        raise invalid("#/page_token", "is not a page token of a reply")
    return after


def window_number(window: str) -> int:
    """The number in a window id such as "w-4". Raises the 404 refusal."""
    number = documents.number(window.removeprefix("w-"))
    if number is None or not window.startswith("w-"):
        raise Refusal("not-found", f"there is no window {window[:32]!r}")
    return number
