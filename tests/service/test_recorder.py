"""The recorder bounds the rows that wait for the disk, for every kind of row."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acclimate.learning.spec import InputSpec, LogPolicy, ModelSpec, NetworkSpec
from acclimate.storage.log import journal
from acclimate.storage.log.logged_rows import RequestRows
from service.errors import Refusal
from service.inference.backlog import Backlog
from service.inference.model_slot import Model
from service.inference.recorder import SEAL_SECONDS, Recorder
from service.metrics import ServingMetrics

TEXT = "x" * 2**20


def model() -> Model:
    spec = ModelSpec(
        name="m",
        network=NetworkSpec(network="mlp"),
        input=InputSpec(kind="vector", shape=(4,), classes=("a", "b")),
        seed_path=None,
        log=LogPolicy(durability="none"),
    )
    return Model(id="m", name="m", spec=spec)


def recorder_in(folder: Path, most_bytes: int = 2**40) -> Recorder:
    metrics = ServingMetrics()
    return Recorder(folder, "api-0", metrics, Backlog(folder, most_bytes, metrics))


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((50_000, 4), np.float32),
        np.broadcast_to(np.float32(0), (500, 3, 200, 200)),
        np.full((128, 1), TEXT, dtype=object),
    ],
    ids=["many rows", "large images", "long texts"],
)
def test_a_log_that_nobody_empties_refuses_more_rows_and_more_bytes_than_it_may_hold(tmp_path, x):
    recorder = recorder_in(tmp_path)  # not started: the slowest disk there is

    async def record() -> int:
        for request in range(10):
            try:
                await recorder.record(
                    model(),
                    RequestRows(
                        prediction_id=str(request),
                        version="1",
                        logged_at=0.0,
                        client="c",
                        x=x,
                        probabilities=np.zeros((len(x), 2), np.float32),
                    ),
                )
            except Refusal as refused:
                answer = (refused.slug, refused.headers)
                assert answer == ("unavailable", {"Retry-After": "1"})
                return request
        return 10

    assert 1 <= asyncio.run(record()) <= 4


def test_a_journal_is_old_by_a_clock_that_nobody_sets(tmp_path):
    metrics, now = ServingMetrics(), [1000.0]
    recorder = Recorder(
        tmp_path, "api-0", metrics, Backlog(tmp_path, 2**40, metrics), clock=lambda: now[0]
    )
    recorder.start()
    durable = replace(model(), spec=replace(model().spec, log=LogPolicy(durability="os")))
    this: dict[str, Any] = {
        "version": "1",
        "logged_at": 9e9,
        "client": "c",
        "x": np.zeros((2, 4), np.float32),
    }
    asyncio.run(
        recorder.record(
            durable,
            RequestRows(prediction_id="one", probabilities=np.zeros((2, 2), np.float32), **this),
        )
    )
    assert recorder.due() == []
    now[0] += SEAL_SECONDS + 1
    assert recorder.due() == ["m"]
    recorder.close()


def test_a_log_begun_in_plain_mode_goes_on_in_a_file_that_can_keep_running_state(tmp_path):
    recorder = recorder_in(tmp_path)
    recorder.start()
    this: dict[str, Any] = {
        "version": "1",
        "logged_at": 0.0,
        "client": "c",
        "x": np.zeros((2, 4), np.float32),
    }
    this["probabilities"] = np.zeros((2, 2), np.float32)

    async def record() -> None:
        durable = replace(model(), spec=replace(model().spec, log=LogPolicy(durability="os")))
        await recorder.record(durable, RequestRows(prediction_id="before", **this))
        await recorder.record(
            durable,
            RequestRows(prediction_id="in a state", state="s", states={"s": b"content"}, **this),
        )
        await recorder.record(durable, RequestRows(prediction_id="after", **this))

    asyncio.run(record())
    [(model_id, first)] = recorder.take_retired()
    second = recorder.seal("m")
    recorder.close()
    assert model_id == "m"
    assert second is not None
    assert list(journal.read(first.path).prediction_id) == ["before"] * 2
    found = journal.read(second.path)
    assert list(found.prediction_id) == ["in a state"] * 2 + ["after"] * 2
    assert found.state == ["s", "s", None, None]
    assert found.states == {"s": b"content"}


def test_a_large_file_is_sealed_unasked_and_the_next_rows_begin_another(tmp_path):
    recorder = recorder_in(tmp_path, 160_000)
    recorder.start()
    durable = replace(model(), spec=replace(model().spec, log=LogPolicy(durability="os")))
    this: dict[str, Any] = {
        "version": "1",
        "logged_at": 0.0,
        "client": "c",
        "x": np.zeros((500, 4), np.float32),
    }
    this["probabilities"] = np.zeros((500, 2), np.float32)

    async def record() -> None:
        for request in range(5):
            await recorder.record(durable, RequestRows(prediction_id=str(request), **this))

    asyncio.run(record())
    sealed = [file for _, file in recorder.take_retired()]
    last = recorder.seal("m")
    recorder.close()
    files = [*sealed, *([last] if last else [])]
    assert len(sealed) >= 2
    found = [id for file in files for id in journal.read(file.path).prediction_id]
    assert found == [str(request) for request in range(5) for _ in range(500)]


def test_a_backlog_of_the_log_is_bounded_reported_and_shipped_later(tmp_path):
    metrics = ServingMetrics()
    recorder = Recorder(tmp_path, "api-0", metrics, Backlog(tmp_path, 100_000, metrics))
    recorder.start()
    durable = replace(model(), spec=replace(model().spec, log=LogPolicy(durability="os")))
    this: dict[str, Any] = {
        "version": "1",
        "logged_at": 0.0,
        "client": "c",
        "x": np.zeros((100, 4), np.float32),
    }
    this["probabilities"] = np.zeros((100, 2), np.float32)

    async def fill() -> int:
        for request in range(200):
            try:
                await recorder.record(durable, RequestRows(prediction_id=str(request), **this))
            except Refusal as refused:
                assert refused.slug == "unavailable"  # noqa: PT017
                assert "Retry-After" in refused.headers  # noqa: PT017
                return request
        return 200

    async def told(name: str) -> float:
        await asyncio.sleep(2.5)
        [line] = [
            line for line in metrics.text().decode().splitlines() if line.startswith(name + " ")
        ]
        return float(line.rpartition(" ")[2])

    taken = asyncio.run(fill())
    assert 5 < taken < 50
    assert 100_000 <= asyncio.run(told("acclimate_journal_backlog_bytes")) < 120_000
    assert asyncio.run(told("acclimate_journal_backlog_age_seconds")) > 2
    sealed = [
        file
        for file in (*(file for _, file in recorder.take_retired()), recorder.seal("m"))
        if file
    ]
    assert sum(file.rows for file in sealed) == 100 * taken, "what was refused is not in it"
    assert asyncio.run(fill()) == 0, "sealed, it still stands on this disk"
    for file in sealed:
        file.path.unlink()
    assert asyncio.run(told("acclimate_journal_backlog_bytes")) == 0
    assert asyncio.run(fill()) == taken
    recorder.close()
