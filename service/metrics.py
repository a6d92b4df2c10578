"""The serving metrics, summed over the replicas of one machine.

Each replica counts in files of its own in one folder; the replica that is scraped returns the sum
over all files. The files belong to the replica's slot, not to its process: a successor continues
the counts of its predecessor, and there are only as many files as replicas.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import numpy as np
import structlog
from fastapi import FastAPI
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    disable_created_metrics,
    generate_latest,
    start_http_server,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from acclimate.learning.data import Floats
from acclimate.settings import Settings, share_metrics_in
from service.learning_metrics import LearningCollector, families

log = structlog.get_logger()

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
SWAP_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
KINDS = ("counter", "histogram", "gauge_livemax", "gauge_livesum")
FILE_BYTES = 2**20
"""Room for about five thousand label sets of each kind before a file has to grow."""
PORT_RETRY_SECONDS = 5.0


def count_in_files(settings: Settings) -> Path | None:
    """Make the metrics that are created from now on count in files; returns their folder.

    Returns None when the folder cannot be written: then each process counts in memory, because
    serving must not fail with the metrics.
    """
    folder = settings.metrics
    slot = quote(settings.replica, safe="").replace("_", "%5F")
    try:
        if settings.metrics_dir is None:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            _allocate(folder / f"{kind}_{slot}.db", anew=kind.startswith("gauge"))
    except OSError as error:
        log.error(
            "counting in memory: metrics are not summed over replicas",
            folder=str(folder),
            error=str(error),
        )
        return None
    disable_created_metrics()  # type: ignore[no-untyped-call]  # has no types
    share_metrics_in(folder)
    kind = values.MultiProcessValue(process_identifier=lambda: slot)  # type: ignore[no-untyped-call]  # has no types
    values.ValueClass = kind
    return folder


def _allocate(path: Path, *, anew: bool) -> None:
    """Allocate the file's blocks: it is written through a memory map, where a full disk would kill
    the process instead of raising an error.
    """
    if anew:
        path.unlink(missing_ok=True)
    with path.open("ab") as file:
        os.posix_fallocate(file.fileno(), 0, FILE_BYTES)


class ServingMetrics:
    """The metrics of this process, and their sum over `folder` where there is one.

    Label values are bounded: no ids, no text of a client.
    """

    # long: one table of metrics
    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self.registry = CollectorRegistry()
        self.requests = self._counter(
            "predict_requests",
            "Predict and infer requests by HTTP status.",
            ("model", "code", "protocol"),
        )
        self.rows = self._counter("predict_rows", "Rows answered.", ("model", "version"))
        self.duration = self._histogram(
            "predict_duration_seconds",
            "From the end of a request's body to its answer.",
            SECONDS,
        )
        self.confidence = self._histogram(
            "prediction_confidence_ratio", "Probability of the best class.", SHARES
        )
        self.classes = self._counter(
            "predicted_class", "Rows by predicted class.", ("model", "class")
        )
        self.abstained = self._counter(
            "abstained_rows",
            "Rows answered with abstain: their risk is above the policy's max_risk.",
            ("model",),
        )
        self.logged = self._counter(
            "inputs_logged",
            "Rows by outcome in the log: stored, opted_out, dropped.",
            ("model", "outcome"),
        )
        self.model_info = self._gauge(
            "model_info",
            "1 for each version that a live replica serves.",
            ("model", "version", "digest"),
        )
        self.swaps = self._histogram(
            "model_swap_duration_seconds",
            "From noticing a promotion to serving the new champion.",
            SWAP_SECONDS,
        )
        self.load_failures = self._counter(
            "model_load_failures",
            "Champions that a replica could not load; it kept the old one.",
            ("model",),
        )
        self.state_distance = self._gauge(
            "running_state_distance_ratio",
            "Distance of the running state from the seed set: change of the class priors, or shift "
            "of the columns in standard deviations of the seed set.",
            ("model",),
        )
        self.state_rows = self._gauge(
            "running_state_rows",
            "Rows in a replica's running state since it began to serve the version.",
            ("model",),
        )
        self.state_renewals = self._counter(
            "running_state_renewals",
            "Running states that began on any replica.",
            ("model",),
        )
        self.backlog_bytes = self._gauge(
            "journal_backlog_bytes",
            "Logged rows on the replicas' disks that wait for store and database.",
            mode="livesum",
        )
        self.backlog_age = self._gauge(
            "journal_backlog_age_seconds",
            "Age of the oldest file that waits there, the open one included.",
        )
        self.quarantined = self._counter(
            "journal_quarantined",
            "Damaged batches and files found while recovering a journal.",
        )

    def set_running_state(self, model: str, distance: float, *, rows: int) -> None:
        """Set the distance of this replica's running state of the model, and its row count."""
        self.state_distance.labels(model).set(distance)
        self.state_rows.labels(model).set(rows)

    def collect(self) -> Iterator[Metric]:
        """Every serving metric, without the versions that no replica serves any more."""
        for metric in self._source().collect():
            if metric.name == "acclimate_model_info":
                metric.samples = [sample for sample in metric.samples if sample.value]
            yield metric

    def _source(self) -> Collector:
        if self._folder is None:
            return self.registry
        return MultiProcessCollector(None, str(self._folder))  # type: ignore[no-untyped-call]  # has no types

    def text(self) -> bytes:
        """Prometheus text of `collect`."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)

    def _counter(self, name: str, help: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"acclimate_{name}", help, labels, registry=self.registry)

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            f"acclimate_{name}", help, ("model",), buckets=buckets, registry=self.registry
        )

    def _gauge(
        self,
        name: str,
        help: str,
        labels: tuple[str, ...] = (),
        *,
        mode: Literal["livemax", "livesum"] = "livemax",
    ) -> Gauge:
        return Gauge(
            f"acclimate_{name}", help, labels, multiprocess_mode=mode, registry=self.registry
        )


def observe_all(histogram: Histogram, observed: Floats) -> None:
    """Observe each value, at the cost of one update per bucket.

    The library has no such function; one update per row through a memory map would cost more than
    answering the row.
    """
    edges = histogram._upper_bounds
    buckets = np.minimum(np.searchsorted(edges, observed), len(edges) - 1)
    for index, count in enumerate(np.bincount(buckets, minlength=len(edges))):
        if count:
            histogram._buckets[index].inc(int(count))
    histogram._sum.inc(float(observed.sum()))


def serve_openly(app: FastAPI, host: str, port: int) -> None:
    """Serve /metrics without a key on a second port, for a private network.

    The first replica on a machine takes the port and returns the sum over all; when it dies,
    another replica takes it.
    """

    class Everything:
        def collect(self) -> Iterator[Metric]:
            state = getattr(app.state, "service", None)
            if state is not None:
                yield from state.metrics.collect()
                yield from LearningCollector(state.database).collect()

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Everything())

    def take() -> None:
        warned = False
        while True:
            try:
                start_http_server(port, addr=host, registry=registry)
                log.info("the metrics port is open", port=port)
                return
            except OSError as error:
                if not warned:
                    log.warning(
                        "the metrics port is taken; trying again", port=port, error=str(error)
                    )
                warned = True
                time.sleep(PORT_RETRY_SECONDS)

    threading.Thread(target=take, name="metrics-port", daemon=True).start()


def names() -> frozenset[str]:
    """Every metric that a running API exports, as Prometheus names it, without _bucket, _sum and
    _count.
    """
    found = [*ServingMetrics().registry.collect(), *families().values()]
    return frozenset(
        f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in found
    )
