"""A running service: `acclimate up` with its real processes, over HTTP."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

CANARY = "canary.ann.1987@example.org"
"""Sent where a user would send personal data: it must be in no log line, metric or error."""
SECRET = re.compile(r"acc_[\w-]{43}")
"""The form of every API key."""
NO_TLS = ssl.create_default_context()
"""Nothing here speaks TLS; each client would read all certificates of this machine anew."""


@dataclass
class Service:
    """A running `acclimate up`."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    replicas: int = 1
    workers: int = 1
    process: subprocess.Popen[str] | None = None
    url: str = ""

    def start(self) -> Service:
        """Start it; returns when it is ready."""
        command = [
            sys.executable,
            "-m",
            "acclimate.cli.app",
            "up",
            "--home",
            str(self.home),
            "--port",
            "0",
        ]
        command += ["--replicas", str(self.replicas), "--workers", str(self.workers)]
        environment = {**os.environ, **self.environment}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready http://"), self.logs()
        self.url = line.split()[1]
        return self

    def stop(self) -> int:
        """Stop it with SIGTERM; returns the exit code."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(40)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.hold_logs_against_secrets()
        return code

    def hold_logs_against_secrets(self) -> None:
        """Assert that no log, of a process or of a run, holds a key or personal data."""
        for path, content in (
            *contents(self.home / "log"),
            *contents(self.home / "store" / "logs"),
        ):
            text = content.decode(errors="replace")
            assert SECRET.search(text) is None, f"a key stands in {path.name}"
            assert CANARY not in text, f"personal data stands in {path.name}"

    def kill(self) -> None:
        """Kill the supervisor alone with SIGKILL."""
        assert self.process is not None and self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    @property
    def key(self) -> str:
        return (self.home / "admin.key").read_text().strip()

    def http(self, key: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, verify=NO_TLS)

    def pid(self, name: str) -> int:
        return int((self.home / "run" / f"{name}.pid").read_text())

    def signal(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.pid(name), number)

    @contextmanager
    def suspended(self, name: str) -> Iterator[None]:
        """Suspend the process and its children for the block; those that end are ignored."""
        parent = psutil.Process(self.pid(name))
        family = [parent, *parent.children(recursive=True)]
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.suspend()
        try:
            yield
        finally:
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    member.resume()

    def logs(self) -> str:
        return "\n".join(
            f"== {path.name}\n{path.read_text()[-3000:]}"
            for path in sorted((self.home / "log").glob("*.log"))
        )


@contextmanager
def process(role: str, log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run one `acclimate serve` or `worker` for the block; its output goes to `log`."""
    with log.open("wb") as out:
        command = [sys.executable, "-m", "acclimate.cli.app", role]
        running = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=out, stderr=out
        )
    try:
        yield running
    finally:
        running.terminate()
        running.wait(60)


def free_port() -> int:
    """A port that no process listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below `folder` with its bytes; files that are deleted meanwhile are left out."""
    for top, _, names in os.walk(folder):
        for path in (Path(top, name) for name in names):
            with suppress(FileNotFoundError):
                if path.is_file():  # no socket
                    yield path, path.read_bytes()


def wait_for(question: Any, seconds: float = 30.0) -> Any:
    """Call `question` until its answer is true, and return that; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = question()
        if answer:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:g} s")


def audit_log(http: httpx.Client) -> list[dict[str, Any]]:
    """All entries of the audit log, oldest first, from all pages."""
    entries: list[dict[str, Any]] = []
    token: str | None = None
    while True:
        params = {"page_size": 500, **({"page_token": token} if token else {})}
        page = http.get("/api/v1/audit", params=params).json()
        entries += page["items"]
        token = page["next_page_token"]
        if token is None:
            return entries
