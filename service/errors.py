"""Maps exceptions to HTTP replies: RFC 9457 documents on /api/v1, `{"error": text}` on /v2."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from acclimate.learning.seed_split import SeedError
from acclimate.learning.spec import Problem
from acclimate.spec import SpecError
from acclimate.storage import database
from acclimate.storage.log import windows
from acclimate.storage.registry import deletion, models, promotions, versions
from acclimate.storage.runs import idempotency, run_start, runs

log = structlog.get_logger()

TITLES = {
    "bad-request": (400, "The request is not well formed"),
    "unauthorized": (401, "A valid key is required"),
    "forbidden": (403, "The key does not have the scope for this"),
    "not-found": (404, "Not found"),
    "method-not-allowed": (405, "The resource does not support this method"),
    "model-exists": (409, "A model with this name exists"),
    "version-aliased": (409, "The version has an alias"),
    "already-champion": (409, "The version is the champion"),
    "run-active": (409, "The model has an active run"),
    "run-ended": (409, "The run has ended"),
    "not-enough-rows": (409, "The open window has too few rows for a run"),
    "window-open": (409, "The window is still open"),
    "window-quarantined": (409, "The window is quarantined"),
    "gate-not-passed": (409, "The version did not pass its gates"),
    "learning-paused": (409, "Learning is paused"),
    "too-slow": (408, "The request took too long to arrive"),
    "epoch-moved": (412, "The resource was changed meanwhile"),
    "too-large": (413, "The request is too large"),
    "unsupported-encoding": (415, "The encoding of the body is not supported"),
    "invalid": (422, "The request is not valid"),
    "idempotency-key-reused": (422, "The Idempotency-Key was used with another request"),
    "precondition-required": (428, "If-Match is required"),
    "rate-limited": (429, "The rate limit of the key is exceeded"),
    "internal": (500, "Internal error"),
    "unavailable": (503, "Not ready yet"),
}
FRAMEWORK_SLUGS = {
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    408: "too-slow",
    413: "too-large",
}
"""The slug of each status that the framework or `BodyLimit` raises."""


@dataclass
class Refusal(Exception):
    """A refused request. `slug` is a key of `TITLES`; `members` are added to the document."""

    slug: str
    detail: str
    problems: list[Problem] = field(default_factory=list)
    members: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return TITLES[self.slug][0]


def bad_request(pointer: str, detail: str) -> Refusal:
    """The 400 refusal of a request with rows, for one problem at a JSON pointer."""
    summary = "the request is refused and nothing of it is logged"
    return Refusal("bad-request", summary, problems=[Problem(pointer, detail)])


# long: one table of exceptions
def refusal_of(error: Exception) -> Refusal | None:
    """The refusal for an exception; None for an unexpected one."""
    match error:
        case Refusal():
            return error
        case SpecError():
            return Refusal("invalid", "the spec is wrong", problems=error.problems)
        case SeedError():
            return Refusal("invalid", "the seed set is wrong", problems=error.problems)
        case models.ModelDeleted():
            return Refusal("not-found", "the model was deleted")
        case models.UnknownModel():
            return Refusal("not-found", f"there is no model {error.args[0]!r}")
        case versions.UnknownVersion() | windows.UnknownWindow():
            return Refusal("not-found", str(error.args[0]))
        case runs.UnknownRun():
            return Refusal("not-found", f"there is no run {error.args[0]!r}")
        case models.ModelExists():
            return Refusal(
                "model-exists",
                f"a model {error.args[0]!r} exists; choose another name or delete that model",
            )
        case deletion.VersionAliased():
            return Refusal(
                "version-aliased", f"{error.args[0]}: promote or roll back to another version first"
            )
        case promotions.AlreadyChampion():
            return Refusal("already-champion", str(error.args[0]))
        case runs.RunActive():
            where = {"Location": f"/api/v1/runs/{error.run_id}"}
            return Refusal("run-active", str(error), members={"run": error.run_id}, headers=where)
        case runs.RunEnded():
            return Refusal("run-ended", f"the run has ended: {error.args[0]}")
        case windows.NotEnoughRows():
            return Refusal(
                "not-enough-rows", str(error), members={"rows": error.rows, "needed": error.needed}
            )
        case windows.WindowOpen():
            return Refusal("window-open", str(error.args[0]))
        case windows.WindowQuarantined():
            return Refusal("window-quarantined", str(error))
        case run_start.NothingServed():
            return Refusal("unavailable", str(error), headers={"Retry-After": "2"})
        case idempotency.KeyReused():
            return Refusal(
                "idempotency-key-reused", "send a new Idempotency-Key with a new request"
            )
        case promotions.GateNotPassed():
            return Refusal(
                "gate-not-passed",
                f"{error.args[0]}; override: true promotes it anyway, which is recorded",
            )
        case models.EpochMoved():
            return Refusal("epoch-moved", str(error.args[0]))
        case database.UnfitValue():
            return Refusal("bad-request", str(error))
        case database.Unavailable():
            return Refusal(
                "unavailable",
                "the database does not answer; try again",
                headers={"Retry-After": "2"},
            )
    return None


def problem_response(refusal: Refusal, request: Request) -> Response:
    """The RFC 9457 reply. It never echoes the input, which may be personal or not encodable."""
    status, title = TITLES[refusal.slug]
    body = {
        "type": f"/problems/{refusal.slug}",
        "title": title,
        "status": status,
        "detail": refusal.detail,
        "request_id": getattr(request.state, "request_id", None),
        **refusal.members,
    }
    if refusal.problems:
        body["errors"] = [
            {"pointer": problem.pointer, "detail": problem.detail}
            for problem in refusal.problems[:20]
        ]
    return JSONResponse(
        body, status, headers=refusal.headers, media_type="application/problem+json"
    )


def inference_response(refusal: Refusal) -> Response:
    """The `{"error": text}` reply of the Open Inference Protocol, with 400 instead of 422."""
    status = 400 if refusal.status == 422 else refusal.status
    text = "; ".join(
        [
            refusal.detail,
            *(f"{problem.pointer}: {problem.detail}" for problem in refusal.problems[:5]),
        ]
    )
    return JSONResponse({"error": text}, status, headers=refusal.headers)


def respond(request: Request, refusal: Refusal) -> Response:
    """The reply for a refusal, in the format of the request's API."""
    if request.url.path == "/v2" or request.url.path.startswith("/v2/"):
        return inference_response(refusal)
    return problem_response(refusal, request)


REFUSED = (
    Refusal,
    SpecError,
    SeedError,
    LookupError,
    database.Unavailable,
    database.UnfitValue,
    models.ModelExists,
    promotions.GateNotPassed,
    models.EpochMoved,
    promotions.AlreadyChampion,
    deletion.VersionAliased,
    runs.RunActive,
    runs.RunEnded,
    windows.NotEnoughRows,
    windows.WindowOpen,
    windows.WindowQuarantined,
    run_start.NothingServed,
    idempotency.KeyReused,
    Exception,
)
FRAMEWORK_SLUGS = {
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    408: "too-slow",
    413: "too-large",
}


def install(app: FastAPI) -> None:
    """Register the handlers of every exception, those of the framework included."""
    for kind in REFUSED:
        app.add_exception_handler(kind, _refused)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(RequestValidationError, _invalid)


async def _refused(request: Request, error: Exception) -> Response:
    refusal = refusal_of(error)
    if refusal is None:
        log.error("request failed", path=request.url.path, exc_info=error)
        refusal = Refusal("internal", "the error is logged with the id of this request")
    return respond(request, refusal)


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refusal = Refusal(
        FRAMEWORK_SLUGS.get(error.status_code, "bad-request"),
        str(error.detail),
        headers=dict(error.headers or {}),
    )
    return respond(request, refusal)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [
        Problem("#/" + "/".join(str(step) for step in entry["loc"]), entry["msg"])
        for entry in error.errors()
    ]
    return respond(request, Refusal("invalid", "the request is wrong", problems=problems))
