"""Holds runs at a stage, so that a test can act on them there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from running import Service

from acclimate.client.http import Client


def folder(service: Service) -> Path:
    """The drill folder of the service."""
    found = Path(service.environment["ACCLIMATE_DRILLS"])
    found.mkdir(exist_ok=True)
    return found


@contextmanager
def held(service: Service, *stages: str) -> Iterator[None]:
    """Hold every trainer that enters one of the stages, until `release` or the end of the block."""
    for stage in stages:
        (folder(service) / stage).touch()
    try:
        yield
    finally:
        for stage in stages:
            release(service, stage)


def release(service: Service, stage: str) -> None:
    """Let trainers that are held at the stage continue."""
    (folder(service) / stage).unlink(missing_ok=True)


def reached(service: Service, run_id: str, stage: str, *, attempt: int = 1) -> None:
    """Return when that attempt at the run has entered the stage, by the run's events."""
    with Client(service.url, service.key) as client:
        for event in client.events(run_id):
            if (
                event.kind == "stage"
                and event.content["stage"] == stage
                and event.content["attempt"] == attempt
            ):
                return
    raise AssertionError(
        f"run {run_id} ended without {stage} in attempt {attempt}: {service.logs()}"
    )
