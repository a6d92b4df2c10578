"""The command `demo`, which `make run` runs: a service that adapts to slowly rotating digits
without labels.
"""

from __future__ import annotations

import ctypes
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from acclimate.cli import digits, output, playing, scoring
from acclimate.cli.connection import read_home
from acclimate.cli.following import follow
from acclimate.cli.play import PATIENCE, keep, play_shown, summary, windows_table
from acclimate.cli.scoring import Played
from acclimate.client.errors import UnreachableError
from acclimate.client.http import Client

READY = re.compile(r"ready (https?://\S+)")
READY_SECONDS = 120.0
STOP_SECONDS = 40.0
LEAST_PROMOTIONS = 3
SET_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


class StoppedError(Exception):
    """A signal stopped the demo."""


class ServiceEndedError(Exception):
    """`acclimate up` exited with this code before the demo stopped it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"acclimate up exited with {code}")
        self.code = code


def demo(
    home: Annotated[
        Path | None,
        typer.Option(
            "--home",
            metavar="DIR",
            help="Folder for all files (ACCLIMATE_HOME or .acclimate).",
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=65_535, help="Port to serve on; 0 selects a free one."),
    ] = 8000,
) -> None:
    """Serve a model of handwritten digits, rotate the digits slowly, and show how the model adapts
    without labels. Keeps serving until Ctrl-C.
    """
    from acclimate.settings import client_settings

    raise typer.Exit(run((home or client_settings().home).absolute(), port))


def run(home: Path, port: int) -> int:
    """Run the demo; returns the exit code.

    0 when it was stopped while serving, 1 when a result was not as expected, 130 when it was
    stopped before the end, else the code of `acclimate up` when that exited by itself.
    """
    started = time.monotonic()
    shown = False
    _stop_on_signals()
    try:
        with serving(home, port) as (url, up):
            try:
                faults = show(home, url, started)
            except UnreachableError:
                _raise_if_ended(up)
                raise
            if faults:
                output.say("the demo failed: " + "; ".join(faults))
                return 1
            shown = True
            print(f"still serving at {url}; Ctrl-C stops everything", flush=True)
            while True:
                _raise_if_ended(up)
                time.sleep(0.5)
    except StoppedError:
        output.say("stopped")
        return 0 if shown else 130
    except ServiceEndedError as ended:
        output.say(f"{ended}; see the end of {home / 'demo.log'}")
        return exit_code(ended.code)


@contextmanager
def serving(home: Path, port: int) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start `acclimate up` in this home and stop it at the end; yields its address and process."""
    home.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "acclimate.cli.app",
        "up",
        "--home",
        str(home),
        "--port",
        str(port),
    ]
    print(f"starting: acclimate up --home {home} --port {port}", flush=True)
    with (home / "demo.log").open("a", encoding="utf-8") as log:
        # In a session of its own, so that Ctrl-C reaches only the demo, which stops the service.
        up = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        try:
            yield _wait_until_ready(up), up
        finally:
            _stop(up)


def show(home: Path, url: str, started: float) -> list[str]:
    """Create the model, play the stream and print the results; returns what was not as expected."""
    _, key = read_home(home)
    print(f"address {url}\nadmin key {home / 'admin.key'}: {key}", flush=True)
    with Client(url, key, patience=PATIENCE) as client:
        name = _free_name([str(model["name"]) for model in client.models()])
        folder = home / "digits"
        spec = digits.write(folder, name=name)
        run = client.create(spec)
        print(
            f"model {name}: {digits.SEED_ROWS} labeled digits; run {run['id']} trains version 1",
            flush=True,
        )
        run = follow(client, run["id"], home)
        if run["state"] != "succeeded":
            return [
                f"version 1 was not published: run {run['id']} ended {run['state']}: "
                f"{run.get('detail')}"
            ]
        print(
            f"version 1 is served {time.monotonic() - started:.0f} s after the start; now the "
            f"digits rotate, without labels",
            flush=True,
        )
        windows = play_shown(client, name, playing.read(folder / "stream.npz"))
        return _conclude(client, name, windows, home / "digits" / f"play-{name}.json", started)


def _conclude(
    client: Client, name: str, windows: Sequence[Played], report: Path, started: float
) -> list[str]:
    """Print the table, the picture's path and the summary; returns what was not as expected."""
    output.print_table(windows_table(name, windows))
    print(summary(scoring.report(windows)))
    print(
        keep(
            windows,
            report,
            title="Handwritten digits, rotated by 5 to 50 degrees, learnt without labels",
        )
    )
    print(
        "the windows are drawn from 900 digits: each appears about three times, at other angles",
        flush=True,
    )
    states = {window["id"]: window["state"] for window in client.windows(name)}
    quarantined = []
    for played in windows:
        if played.mark and played.run:
            window = (client.run(played.run).get("window") or {}).get("id")
            print(
                f"window {played.window} ({played.mark}): run {played.state}, window {window} "
                f"{states.get(window)}"
            )
            quarantined += [window] if states.get(window) == "quarantined" else []
    faults = judge(windows, len(quarantined))
    if not faults:
        promotions = sum(window.promoted for window in windows)
        print(
            f"learning continued: {promotions} promotions in total, "
            f"{time.monotonic() - started:.0f} s after the start",
            flush=True,
        )
    return faults


def exit_code(code: int) -> int:
    """The exit code when the service exited by itself: its own, 128 + n after signal n, never 0."""
    return 128 - code if code < 0 else code or 1


def judge(windows: Sequence[Played], quarantined: int) -> list[str]:
    """What was not as expected in these windows, one message each; none when all was."""
    faults = []
    promotions = sum(window.promoted for window in windows)
    if promotions < LEAST_PROMOTIONS:
        faults.append(f"{promotions} promotions, expected at least {LEAST_PROMOTIONS}")
    marked = [index for index, window in enumerate(windows) if window.mark]
    for index in marked:
        window = windows[index]
        if window.state != "rejected":
            faults.append(
                f"the run over window {window.window} ({window.mark}) ended {window.state}, "
                f"expected rejected"
            )
        if not any(later.promoted for later in windows[index + 1 :]):
            faults.append(f"nothing was promoted after window {window.window}")
    if quarantined < len(marked):
        faults.append("the marked window is not quarantined")
    return faults


def _free_name(taken: Sequence[str]) -> str:
    number, name = 1, "digits"
    while name in taken:
        number += 1
        name = f"digits-{number}"
    return name


def _end_with_parent() -> None:
    """On Linux: send SIGTERM to the child when this process is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGTERM)


def _wait_until_ready(up: subprocess.Popen[str]) -> str:
    """The address in the ready line.

    Later lines are read and dropped: a full pipe would block the service.
    """
    found: list[str] = []
    assert up.stdout is not None
    reader = threading.Thread(target=_read, args=(up.stdout, found), daemon=True)
    reader.start()
    end = time.monotonic() + READY_SECONDS
    while not found:
        _raise_if_ended(up)
        if time.monotonic() >= end:
            raise UnreachableError(f"acclimate up was not ready after {READY_SECONDS:.0f} s")
        time.sleep(0.05)
    return found[0]


def _read(lines: IO[str], found: list[str]) -> None:
    for text in lines:
        ready = READY.search(text)
        if ready:
            found.append(ready[1])


def _raise_if_ended(up: subprocess.Popen[str]) -> None:
    code = up.poll()
    if code is not None:
        raise ServiceEndedError(code)


def _stop(up: subprocess.Popen[str]) -> None:
    """Stop the service; kill it when it does not stop in time."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if up.poll() is None:
        up.terminate()
        try:
            up.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            up.kill()
            up.wait()


def _stop_on_signals() -> None:
    def stop(number: int, frame: object) -> None:
        raise StoppedError

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
