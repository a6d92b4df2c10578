"""The errors of the client, one class for each reply that callers treat differently."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class ClientError(Exception):
    """The request was not carried out; the message says why."""


class UnreachableError(ClientError):
    """No usable reply: the connection was refused or broke, the reply came too late, or it was 503
    until the retries ended.
    """


class FileError(ClientError):
    """A local file cannot be used; the message names the file, the position and what is
    expected.
    """


class ProblemError(ClientError):
    """An error reply of the service: its `status`, `slug` (the last part of the problem's type),
    `errors` and whole `body`.
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
            or f"the service replied {self.status}"
        )
        lines = [f"{error.get('pointer', '')}: {error.get('detail', '')}" for error in self.errors]
        return "\n  ".join([text, *(line for line in lines if line not in text)])


class AccessError(ProblemError):
    """401 or 403: the key is missing, unknown or without the scope."""


class NotFoundError(ProblemError):
    """404: there is no model, run, version, window or key of that name."""


class ConflictError(ProblemError):
    """409: the request does not fit the present state."""


class RunActiveError(ConflictError):
    """409 run-active: the model has an active run; `run` is its id where the reply names it."""

    @property
    def run(self) -> str | None:
        if self.location:
            return self.location.rstrip("/").rsplit("/", 1)[-1]
        run = self.body.get("run")
        return run if isinstance(run, str) else None


class NotEnoughRowsError(ConflictError):
    """409 not-enough-rows: the open window has `rows` of `needed` rows, and stays open."""

    @property
    def rows(self) -> int:
        return int(self.body.get("rows", 0))

    @property
    def needed(self) -> int:
        return int(self.body.get("needed", 0))


class ModelExistsError(ConflictError):
    """409 model-exists: a model has this name."""


class GateNotPassedError(ConflictError):
    """409 gate-not-passed: the version failed a gate; only an override promotes it."""


class PreconditionError(ProblemError):
    """412: it was changed since it was read."""


class InvalidError(ProblemError):
    """400, 413, 415 or 422: the request is wrong, see `errors`; nothing of it was stored."""


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
    """The error for a reply of 400 or above, by its slug where that is known, else by its
    status.
    """
    plain = ProblemError(status, body)
    kind = SLUGS.get(plain.slug) or STATUSES.get(status, ProblemError)
    return kind(status, body, location=location)
