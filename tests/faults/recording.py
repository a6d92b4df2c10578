"""A process that does nothing but record, to be killed or traced: recorder, clients that never
stop, a seal every few groups.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from stored_models import spec

from acclimate.storage.log import journal
from acclimate.storage.log.logged_rows import RequestRows
from acclimate.storage.log.segments import Segments
from acclimate.storage.store import Store
from service.inference.backlog import Backlog
from service.inference.recorder import Recorder
from service.metrics import ServingMetrics

MODEL = "01J0000000000000000000000A"
CLIENTS = 4


def segments(folder: Path) -> Segments:
    return Segments(Store(f"file://{folder / 'store'}", folder / "cache"))


def recover(folder: Path) -> list[Path]:
    """What dead processes left is in the store; the files that could not be read."""
    found = journal.recover(folder / "journal" / MODEL)
    for sealed in found.sealed:
        segments(folder).put(sealed, MODEL)
    return found.quarantined


def work(folder: Path, pipe: Any) -> None:
    """Until somebody kills this process: each acknowledged request is told through the pipe, by its
    id and rows.
    """
    recover(folder)
    asyncio.run(_serve(folder, pipe.fileno(), "fsync"))


async def _serve(folder: Path, pipe: int, durability: str) -> None:
    log = SimpleNamespace(durability=durability)
    model: Any = SimpleNamespace(
        id=MODEL, name="gas", spec=SimpleNamespace(log=log, input=spec().input)
    )
    metrics = ServingMetrics()
    recorder = Recorder(
        folder / "journal", "api-0", metrics, Backlog(folder / "journal", 2**40, metrics)
    )
    recorder.start()
    await asyncio.gather(
        *(_send(recorder, model, pipe) for _ in range(CLIENTS)), _seal(recorder, folder)
    )


async def _send(recorder: Recorder, model: Any, pipe: int) -> None:
    rng = np.random.default_rng(int.from_bytes(secrets.token_bytes(8)))
    while True:
        rows = int(rng.integers(1, 9))
        id = secrets.token_hex(8)
        x, probabilities = (
            rng.normal(size=(rows, 2)).astype(np.float32),
            np.full((rows, 2), 0.5, dtype=np.float32),
        )
        at = {"prediction_id": id, "version": "1", "logged_at": time.time(), "client": "key"}
        await recorder.record(model, RequestRows(x=x, probabilities=probabilities, **at))
        os.write(pipe, f"{id} {rows}\n".encode())


async def _seal(recorder: Recorder, folder: Path) -> None:
    while True:
        await asyncio.sleep(0.02)
        sealed = await asyncio.to_thread(recorder.seal, MODEL)
        if sealed is not None:
            await asyncio.to_thread(segments(folder).put, sealed, MODEL)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), sys.stdout.fileno(), sys.argv[2]))
