"""What can go wrong between a client and the service, one class for each answer that a caller
treats differently.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class ClientError(Exception):
    """What was asked was not done; the message says why."""


class UnreachableError(ClientError):
    """No usable answer came: nothing listens at the address, it went silent, or it answered 503
    until patience ended.
    """


class FileError(ClientError):
    """A local file is not what it should be; the message names file and place, and what would be
    right.
    """


class ProblemError(ClientError):
    """The service answered with an error: `status`, `slug` (last part of the problem's type),
    `errors`, the whole `body`.
    """

    def __init__(self, status: int, body: Json, *, location: str | None = None) -> None:
        self.status = status
        self.body = body
        self.location = location
        self.slug = str(body.get("type") or "").rstrip("/").rsplit("/", 1)[-1]
        self.errors: list[Json] = [
            error for error in body.get("errors") or [] if isinstance(error, dict)
        ]
        super().__init__(self._message())

    def _message(self) -> str:
        body = self.body
        text = str(
            body.get("detail")
            or body.get("error")
            or body.get("title")
            or f"the service answered {self.status}"
        )
        places = [f"{error.get('pointer', '')}: {error.get('detail', '')}" for error in self.errors]
        return "\n  ".join([text, *(place for place in places if place not in text)])


class AccessError(ProblemError):
    """401 or 403: no key, an unknown one, or one without the scope."""


class NotFoundError(ProblemError):
    """404: no model, run, version, window or key of that name."""


class ConflictError(ProblemError):
    """409: what was asked does not fit the present state."""


class RunActiveError(ConflictError):
    """409 run-active: the model learns already; `run` is the id of that run, when the service named
    it.
    """

    @property
    def run(self) -> str | None:
        if self.location:
            return self.location.rstrip("/").rsplit("/", 1)[-1]
        run = self.body.get("run")
        return run if isinstance(run, str) else None


class NotEnoughRowsError(ConflictError):
    """409 not-enough-rows: the open window has `rows` of the `needed` ones and stays open."""

    @property
    def rows(self) -> int:
        return int(self.body.get("rows", 0))

    @property
    def needed(self) -> int:
        return int(self.body.get("needed", 0))


class ModelExistsError(ConflictError):
    """409 model-exists: the name is taken."""


class GateNotPassedError(ConflictError):
    """409 gate-not-passed: the version was refused by a gate; only an override makes it
    champion.
    """


class PreconditionError(ProblemError):
    """412: somebody else changed it since it was read."""


class InvalidError(ProblemError):
    """400, 413, 415 or 422: the request is wrong in the places that `errors` lists; nothing of it
    was stored.
    """


SLUGS: dict[str, type[ProblemError]] = {
    "run-active": RunActiveError,
    "not-enough-rows": NotEnoughRowsError,
    "model-exists": ModelExistsError,
    "gate-not-passed": GateNotPassedError,
}
STATUSES: dict[int, type[ProblemError]] = {
    400: InvalidError,
    401: AccessError,
    403: AccessError,
    404: NotFoundError,
    409: ConflictError,
    412: PreconditionError,
    413: InvalidError,
    415: InvalidError,
    422: InvalidError,
}


def problem(status: int, body: Json, *, location: str | None = None) -> ProblemError:
    """The error for an answer of 400 or above: by its slug where it has a known one, else by its
    status.
    """
    plain = ProblemError(status, body)
    kind = SLUGS.get(plain.slug) or STATUSES.get(status, ProblemError)
    return kind(status, body, location=location)
