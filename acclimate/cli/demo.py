"""The command `demo`, which is what `make run` shows: digits that slowly turn, learnt without
labels, on a real service.
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
    """A signal asked the demo to end."""


class ServiceEndedError(Exception):
    """`acclimate up` ended by itself, with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"acclimate up ended with {code}")
        self.code = code


def demo(
    home: Annotated[
        Path | None,
        typer.Option(
            "--home",
            metavar="DIR",
            help="Folder of everything it keeps (ACCLIMATE_HOME or .acclimate).",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_535, help="Port to serve on; 0 takes a free one.")
    ] = 8000,
) -> None:
    """Serve handwritten digits that slowly turn, and watch the model follow them without labels.
    Ctrl-C stops all of it.
    """
    from acclimate.settings import client_settings

    raise typer.Exit(run((home or client_settings().home).absolute(), port))


def run(home: Path, port: int) -> int:
    """The whole show; its exit code: 0 stopped while serving, 1 the show did not go as promised,
    130 stopped before its end, else that of `acclimate up` when it ended by itself.
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
                output.say("the demo did not go as promised: " + "; ".join(faults))
                return 1
            shown = True
            print(f"serving on at {url}; Ctrl-C stops all of it", flush=True)
            while True:
                _raise_if_ended(up)
                time.sleep(0.5)
    except StoppedError:
        output.say("stopped")
        return 0 if shown else 130
    except ServiceEndedError as ended:
        output.say(f"{ended}; its last words are in {home / 'demo.log'}")
        return exit_code(ended.code)


@contextmanager
def serving(home: Path, port: int) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Address and process of `acclimate up` in this home, stopped at the end, however that
    comes.
    """
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
        # A session of its own: Ctrl-C reaches the demo alone, which then ends the service once, in
        # order.
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
    """Create, play, print; what was not as promised."""
    _, key = read_home(home)
    print(f"address {url}\nadmin key {home / 'admin.key'}: {key}", flush=True)
    with Client(url, key, patience=PATIENCE) as client:
        name = _free_name([str(model["name"]) for model in client.models()])
        folder = home / "digits"
        spec = digits.write(folder, name=name)
        run = client.create(spec)
        print(
            f"model {name}: {digits.SEED_ROWS} labeled digits; the run {run['id']} trains "
            f"version 1",
            flush=True,
        )
        run = follow(client, run["id"], home)
        if run["state"] != "succeeded":
            return [
                f"version 1 was not made: the run {run['id']} ended {run['state']}: "
                f"{run.get('detail')}"
            ]
        print(
            f"version 1 serves {time.monotonic() - started:.0f} s after the start; now the "
            f"digits turn, unlabeled",
            flush=True,
        )
        windows = play_shown(client, name, playing.read(folder / "stream.npz"))
        return _conclude(client, name, windows, home / "digits" / f"play-{name}.json", started)


def _conclude(
    client: Client, name: str, windows: Sequence[Played], report: Path, started: float
) -> list[str]:
    """Print table, picture and what they show; what was not as promised."""
    output.print_table(windows_table(name, windows))
    print(summary(scoring.report(windows)))
    print(
        keep(
            windows,
            report,
            title="Handwritten digits, turned 5 to 50 degrees, learnt without labels",
        )
    )
    print(
        "the windows draw from 900 digits: each returns about three times, at another angle",
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
            f"learning went on: {promotions} promotions in all, "
            f"{time.monotonic() - started:.0f} s after the start",
            flush=True,
        )
    return faults


def exit_code(code: int) -> int:
    """The code to end with when the service ended by itself: its own, 128 + n for signal n as
    shells say, never 0.
    """
    return 128 - code if code < 0 else code or 1


def judge(windows: Sequence[Played], quarantined: int) -> list[str]:
    """What a demo of these windows did not show, in words; nothing when all is as promised."""
    faults = []
    promotions = sum(window.promoted for window in windows)
    if promotions < LEAST_PROMOTIONS:
        faults.append(f"{promotions} promotions, at least {LEAST_PROMOTIONS} were due")
    marked = [place for place, window in enumerate(windows) if window.mark]
    for place in marked:
        window = windows[place]
        if window.state != "rejected":
            faults.append(
                f"the run over window {window.window} ({window.mark}) ended {window.state}, "
                f"not rejected"
            )
        if not any(later.promoted for later in windows[place + 1 :]):
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
    """On Linux: the child is asked to end when this process is killed, which leaves it no time to
    do so itself.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGTERM)


def _wait_until_ready(up: subprocess.Popen[str]) -> str:
    """The address of the ready line; what comes after it is read and dropped, or a full pipe would
    stop the service.
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
    """End the service in order; by force when it does not end in time."""
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
