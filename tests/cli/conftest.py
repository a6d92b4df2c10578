"""A tiny HTTP server on a real socket that answers as told and remembers what it was asked.

It stands in for the service because these tests are about what the client and the command line do
with an answer, the rare ones included (503, 412, a run that is active); the service itself answers
in `tests/journeys`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Request:
    """What came over the wire."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What goes back: a status, a document (or text), headers."""

    status: int = 200
    document: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Service:
    """Answers each "METHOD /path" with the answers given for it in turn, the last one for ever; a
    callable makes its own.
    """

    url: str
    answers: dict[str, list[Any]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def on(self, line: str, *answers: Answer | Callable[[Request], Answer]) -> None:
        self.answers[line] = list(answers)

    def run(self, run: dict[str, Any], *, stages: tuple[str, ...] = ("snapshot", "train")) -> None:
        """A run that has this document when it has ended, and events that lead there."""
        told: list[tuple[str, dict[str, Any]]] = [("state", {"state": "running", "attempt": 1})]
        told += [("stage", {"stage": stage, "attempt": 1}) for stage in stages]
        told += [("state", {"state": run["state"], "attempt": 1}), ("end", {"state": run["state"]})]
        self.on(f"GET /api/v1/runs/{run['id']}/events", Answer(document=stream(told)))
        self.on(f"GET /api/v1/runs/{run['id']}", Answer(document=run))

    def asked(self, line: str) -> list[Request]:
        return [request for request in self.requests if f"{request.method} {request.path}" == line]

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        waiting = self.answers.get(f"{request.method} {request.path}")
        if not waiting:
            return problem(404, "not-found", f"nothing at {request.path}")
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return answer(request) if callable(answer) else answer


def stream(told: list[tuple[str, dict[str, Any]]], *, first: int = 1) -> str:
    """Server-sent events as the service writes them."""
    frames = (
        f"id: {number}\nevent: {kind}\ndata: {json.dumps(content)}\n\n"
        for number, (kind, content) in enumerate(told, first)
    )
    return "retry: 1000\n\n: nothing new\n\n" + "".join(frames)


def problem(
    status: int, slug: str, detail: str, headers: dict[str, str] | None = None, **members: Any
) -> Answer:
    """An RFC 9457 error as the service writes it."""
    document = {
        "type": f"/problems/{slug}",
        "title": slug,
        "status": status,
        "detail": detail,
        **members,
    }
    return Answer(status, document, headers or {})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def _any(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.service.answer(Request(self.command, path, query, dict(self.headers), body))
        text = answer.document if isinstance(answer.document, str) else json.dumps(answer.document)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815 - the names http.server calls

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {}))
    server.daemon_threads = True
    found = Service(f"http://127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass.service = found  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def answer() -> type[Answer]:
    return Answer


@pytest.fixture(name="stream")
def stream_fixture() -> Callable[..., str]:
    return stream


@pytest.fixture(name="problem")
def problem_fixture() -> Callable[..., Answer]:
    return problem


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def acclimate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Runs one command in this process, with no service in the environment."""
    for name in ("ACCLIMATE_URL", "ACCLIMATE_API_KEY", "ACCLIMATE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object) -> Result:
        from acclimate.cli.app import main

        monkeypatch.setattr("sys.argv", ["acclimate", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return Result(int(end.value.code or 0), said.out, said.err)

    return run
