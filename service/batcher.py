"""Answers requests together: whatever came while the last forward ran makes the next one. No timer."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from acclimate.learning.values import Floats
from service.model_slot import Served

BATCH_ROWS = 1024
Requests = list[tuple[Floats, asyncio.Future[Floats]]]


class Batcher:
    """One inference thread a process; each batch is answered by the one version that its requests had captured."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Served, Requests]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._drain: asyncio.Task[None] | None = None

    async def answer(self, served: Served, x: Floats) -> Floats:
        """Calibrated probabilities (N, C) of the rows x (N, *shape), whole and in order, all from `served`."""
        future: asyncio.Future[Floats] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(id(served), (served, []))[1].append((x, future))
        if self._drain is None or self._drain.done():
            self._drain = asyncio.create_task(self._answer_waiting())
        return await future

    def close(self) -> None:
        self._thread.shutdown(wait=True)

    async def _answer_waiting(self) -> None:
        # One turn of the event loop, so that every request already readable joins the batch.
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        while self._waiting:
            served, requests = self._waiting.pop(next(iter(self._waiting)))
            batch, rest = _split(requests)
            if rest:
                self._waiting[id(served)] = (served, rest)
            x = batch[0][0] if len(batch) == 1 else np.concatenate([rows for rows, _ in batch])
            try:
                probabilities = await loop.run_in_executor(self._thread, served.bundle.probabilities, x)
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            start = 0
            for rows, future in batch:
                if not future.done():
                    future.set_result(probabilities[start : start + len(rows)])
                start += len(rows)


def _split(requests: Requests) -> tuple[Requests, Requests]:
    """As many requests as fit one batch, at least one; and the rest."""
    total = 0
    for index, (rows, _) in enumerate(requests):
        total += len(rows)
        if total > BATCH_ROWS and index:
            return requests[:index], requests[index:]
    return requests, []
