"""Answers a request: predicts its rows with one version, logs them, then acknowledges them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import structlog
from numpy.typing import NDArray

from acclimate.learning.data import Floats, Integers
from acclimate.storage.log.logged_rows import RequestRows
from acclimate.storage.registry.keys import Key
from service.errors import refusal_of
from service.inference.batcher import Followed
from service.inference.model_slot import Model, Served
from service.inference.parsing.requests import RowsRequest
from service.metrics import observe_all
from service.state import ServiceState

logger = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The answer to one request, from one version: probabilities (N, C), best class (N,),
    confidence (N,).

    `abstain` (N,): the risk is above the policy's `max_risk`. `state` is the id of the running
    state of the answer, None without one; `alarm` the kind of the alarm that stood, if one did.
    """

    id: str
    version: str
    log: str
    probabilities: Floats
    best: Integers
    confidence: Floats
    abstain: NDArray[np.bool_]
    state: str | None = None
    alarm: str | None = None


async def predict(
    state: ServiceState,
    model: Model,
    served: Served,
    asked: RowsRequest,
    key: Key,
    *,
    log: bool,
    followed: Followed = None,
) -> Answered:
    """The answer, returned after the rows are logged with the model's durability.

    Args:
        log: whether the rows are logged; logged rows advance the running state.
        followed: the running state or the snapshot to answer in, if any.

    Raises the 503 refusal when the rows could not be logged: then none is acknowledged.
    """
    state.rate_limit.charge(key.id, len(asked.x))
    answer = await state.batcher.answer(served, asked.x, followed, counts=log)
    probabilities = answer.probabilities
    snapshot = answer.snapshot
    best = probabilities.argmax(axis=1)
    confidence = probabilities[np.arange(len(best)), best]
    answered = Answered(
        id=asked.id or secrets.token_hex(16),
        version=str(served.version),
        log="off",
        probabilities=probabilities,
        best=best,
        confidence=confidence,
        abstain=_too_risky(confidence, model.spec.policy.max_risk),
        state=None if snapshot is None else snapshot.id,
        alarm=model.alarm,
    )
    outcome = "opted_out"
    if log:
        rows = RequestRows(
            prediction_id=answered.id,
            version=answered.version,
            logged_at=time.time(),
            client=key.id,
            subject=asked.subject,
            x=asked.x,
            probabilities=probabilities,
            state=answered.state,
            raw=answer.raw,
            states=None if snapshot is None else snapshot.content,
        )
        stored = await state.recorder.record(model, rows)
        answered = replace(answered, log=stored)
        outcome = "stored"
    _count(state, model, answered, outcome)
    # Ids and numbers only: log lines contain no value of a row.
    ids = {"model": model.name, "version": answered.version, "prediction": answered.id}
    logger.debug("answered", **ids, rows=len(best), log=answered.log)
    return answered


@contextmanager
def measured(state: ServiceState, name: str, protocol: str, key: Key) -> Iterator[None]:
    """Count the request by its HTTP status and measure its duration.

    The metrics of an unknown model have the label "unknown". Raises the 429 refusal, before the
    request is read, for a key above its rate limit.
    """
    model = name if name in state.slots.models else "unknown"
    started = time.perf_counter()
    code = 200
    try:
        state.rate_limit.admit(key.id)
        yield
        state.metrics.duration.labels(model).observe(time.perf_counter() - started)
    except Exception as error:
        refusal = refusal_of(error)
        code = refusal.status if refusal else getattr(error, "status_code", 500)
        raise
    finally:
        state.metrics.requests.labels(model, str(code), protocol).inc()


def _too_risky(confidence: Floats, max_risk: float) -> NDArray[np.bool_]:
    """Chow's rule (1970): which answers (N,) have a risk, 1 - confidence, above `max_risk`; none
    where that is 0.
    """
    return np.asarray(1 - confidence.astype(np.float64) > max_risk) & (max_risk > 0)


def _count(state: ServiceState, model: Model, answered: Answered, outcome: str) -> None:
    metrics = state.metrics
    n = len(answered.best)
    metrics.rows.labels(model.name, answered.version).inc(n)
    metrics.logged.labels(model.name, outcome).inc(n)
    metrics.abstained.labels(model.name).inc(int(answered.abstain.sum()))
    observe_all(metrics.confidence.labels(model.name), answered.confidence)
    classes = model.spec.input.classes
    for index, count in enumerate(np.bincount(answered.best, minlength=len(classes))):
        if count:
            metrics.classes.labels(model.name, classes[index]).inc(int(count))
