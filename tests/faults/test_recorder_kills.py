"""The recorder is killed at any moment, again and again: every acknowledged row is in
exactly one segment, none is damaged.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import recording

SEED = 20


def kill_one(folder: Path, seconds: float) -> list[tuple[str, int]]:
    """The rows that a recording process acknowledged before it was killed, so long after
    its first.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["recording"])
    reading, writing = context.Pipe(duplex=False)
    process = context.Process(target=recording.work, args=(folder, writing))
    process.start()
    writing.close()
    told, first = bytearray(), threading.Event()

    def read() -> None:
        while part := os.read(reading.fileno(), 65_536):
            told.extend(part)
            first.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert first.wait(60)
    time.sleep(seconds)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    reader.join(20)
    reading.close()
    assert process.exitcode == -signal.SIGKILL
    # A line that was cut off was written after its acknowledgement all the same, but says too
    # little to be held against the log.
    lines = [
        line.split()
        for line in bytes(told).decode().splitlines(keepends=True)
        if line.endswith("\n")
    ]
    return [(id, row) for id, rows in lines for row in range(int(rows))]


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [20, pytest.param(200, marks=pytest.mark.drill)])
def test_acknowledged_rows_are_in_one_segment_after_any_number_of_kills(tmp_path, drill, rounds):
    moments = random.Random(SEED)
    acknowledged: list[tuple[str, int]] = []
    for _ in range(rounds):
        acknowledged += kill_one(tmp_path, moments.uniform(0.0, 0.15))
    assert recording.recover(tmp_path) == []
    found: Counter[tuple[str, int]] = Counter()
    segments = recording.segments(tmp_path)
    for path in sorted((tmp_path / "store").rglob("*.arrow")):
        rows = segments.read(path.relative_to(tmp_path / "store").as_posix())
        found.update(zip(rows.prediction_id, rows.row.tolist(), strict=True))
    copies = sum(count - 1 for count in found.values())
    counted = {
        "acknowledged": len(acknowledged),
        "found": len(set(acknowledged) & set(found)),
        "duplicates": copies,
    }
    drill.note(
        "1 kill -9 of the recorder", f"{rounds} times under load, durability fsync", **counted
    )
    assert len(acknowledged) > 20 * rounds
    assert counted["found"] == len(acknowledged) == len(set(acknowledged))
    assert copies == 0


def test_a_recording_process_has_no_torch():
    code = "import recording, sys; assert 'torch' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
