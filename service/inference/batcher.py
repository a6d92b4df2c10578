"""Batches requests: those that arrive during one forward pass make the next batch. No timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Floats, Rows
from service.inference.model_slot import Served
from service.inference.running_state import RunningState, Snapshot

BATCH_ROWS = 1024
FOLLOWING_BATCH_ROWS = 64
"""The batch size in a mode with running state, because a whole batch is answered in one state."""
Followed = RunningState | Snapshot | None
"""The state of an answer besides its version: running state, one earlier snapshot, or none."""


class Answer(NamedTuple):
    """The served probabilities (N, C); `raw` (N, C) of the networks where they differ; and the
    `snapshot` of the state behind the answer, if any.
    """

    probabilities: Floats
    raw: Floats | None = None
    snapshot: Snapshot | None = None

    def part(self, start: int, stop: int) -> Answer:
        """The answer for the rows start..stop."""
        if self.snapshot is None:
            return Answer(self.probabilities[start:stop])
        raw = None if self.raw is None else self.raw[start:stop]
        return Answer(self.probabilities[start:stop], raw, self.snapshot)


class Request(NamedTuple):
    """The rows x of one request; `counts` is whether they advance the running state."""

    x: Rows
    counts: bool
    future: asyncio.Future[Answer]


class Batcher:
    """One inference thread per process. Each batch is answered by one version in one state."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, int], tuple[Served, Followed, list[Request]]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._drain: asyncio.Task[None] | None = None

    async def answer(
        self, served: Served, x: Rows, followed: Followed = None, *, counts: bool = False
    ) -> Answer:
        """The answer for the rows x (N, *shape), from one version in one state.

        Args:
            followed: the running state, which the batch's counting rows advance afterwards; or the
                snapshot to answer in; or None.
            counts: whether these rows advance the running state.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault((id(served), id(followed)), (served, followed, []))
        waiting[2].append(Request(x, counts, future))
        if self._drain is None or self._drain.done():
            self._drain = asyncio.create_task(self._answer_waiting())
        return await future

    def close(self) -> None:
        """Finish the current batch and stop."""
        self._thread.shutdown(wait=True)

    async def _answer_waiting(self) -> None:
        # One iteration of the event loop, so that every request already received joins the batch.
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        while self._waiting:
            key = next(iter(self._waiting))
            served, followed, requests = self._waiting.pop(key)
            most = FOLLOWING_BATCH_ROWS if isinstance(followed, RunningState) else BATCH_ROWS
            batch, rest = _split(requests, most)
            if rest:
                self._waiting[key] = (served, followed, rest)
            try:
                answer = await loop.run_in_executor(self._thread, _work(served, followed, batch))
            except Exception as error:
                for request in batch:
                    if not request.future.done():
                        request.future.set_exception(error)
                continue
            start = 0
            for request in batch:
                stop = start + len(request.x)
                if not request.future.done():
                    request.future.set_result(answer.part(start, stop))
                start = stop


def _work(served: Served, followed: Followed, batch: list[Request]) -> Callable[[], Answer]:
    """The function that the inference thread runs for the batch."""
    x = batch[0].x if len(batch) == 1 else np.concatenate([request.x for request in batch])
    if followed is None:
        return lambda: Answer(served.bundle.network_probabilities(x))
    counts = np.repeat([request.counts for request in batch], [len(request.x) for request in batch])
    return lambda: _in_state(served, followed, x, counts)


def _in_state(
    served: Served, followed: RunningState | Snapshot, x: Rows, counts: NDArray[np.bool_]
) -> Answer:
    """The answer in the current state, which is advanced afterwards."""
    snapshot = followed if isinstance(followed, Snapshot) else followed.snapshot
    answered = served.bundle.predict(x, snapshot.state)
    if isinstance(followed, RunningState):
        followed.advance(answered.seen[counts])
    changed = answered.raw is not answered.probabilities
    return Answer(answered.probabilities, answered.raw if changed else None, snapshot)


def _split(requests: list[Request], most: int) -> tuple[list[Request], list[Request]]:
    """The requests of a batch with at most `most` rows, at least one request; and the rest."""
    total = 0
    for index, request in enumerate(requests):
        total += len(request.x)
        if total > most and index:
            return requests[:index], requests[index:]
    return requests, []
