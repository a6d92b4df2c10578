"""The numbers of serving, exact over the replicas of one machine; those of learning are read from
the database when asked for.

Each replica counts in files of its own in one folder, and whichever is asked tells the sum over all
files. A file belongs to the slot and not to the process: a successor counts on where its
predecessor was killed, and files stay as few as replicas.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
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

from acclimate.learning.data import Floats
from acclimate.settings import Settings, share_metrics_in
from service.learning_metrics import LearningCollector, families

log = structlog.get_logger()

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
KINDS = ("counter", "histogram", "gauge_livemax", "gauge_livesum")
FILE_BYTES = 2**20
"""Room for some five thousand label sets of each kind before a file has to grow."""
PORT_RETRY_SECONDS = 5.0


def count_in_files(settings: Settings) -> Path | None:
    """The folder in which metrics made from now on count together with those of other replicas.

    None, and each process counts for itself, when the folder cannot be had: answering matters more
    than counting.
    """
    folder, slot = settings.metrics, quote(settings.replica, safe="").replace("_", "%5F")
    try:
        if settings.metrics_dir is None:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            _make_room(folder / f"{kind}_{slot}.db", anew=kind.startswith("gauge"))
    except OSError as error:
        log.error(
            "counting in memory: replicas do not know one another's numbers",
            folder=str(folder),
            error=str(error),
        )
        return None
    disable_created_metrics()
    share_metrics_in(folder)
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: slot)
    return folder


def _make_room(path: Path, *, anew: bool) -> None:
    """Blocks for the file: it is written through a memory map, where a full disk would kill the
    process instead of raising.
    """
    if anew:
        path.unlink(missing_ok=True)
    with path.open("ab") as file:
        os.posix_fallocate(file.fileno(), 0, FILE_BYTES)


class ServingMetrics:
    """What this process counts, and what it tells: the sum over `folder`, or its own numbers
    without one.

    Label values are bounded: no ids, no text of a client.
    """

    # long: one table of metrics
    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self.registry = CollectorRegistry()
        this = {"registry": self.registry}
        self.requests = Counter(
            "acclimate_predict_requests",
            "Predict and infer requests by answer.",
            ("model", "code", "protocol"),
            **this,
        )
        self.rows = Counter(
            "acclimate_predict_rows", "Rows answered.", ("model", "version"), **this
        )
        self.duration = Histogram(
            "acclimate_predict_duration_seconds",
            "From a request's body read to its answer.",
            ("model",),
            buckets=SECONDS,
            **this,
        )
        self.confidence = Histogram(
            "acclimate_prediction_confidence_ratio",
            "Probability of the best class.",
            ("model",),
            buckets=SHARES,
            **this,
        )
        self.classes = Counter(
            "acclimate_predicted_class", "Rows by predicted class.", ("model", "class"), **this
        )
        self.abstained = Counter(
            "acclimate_abstained_rows",
            "Rows answered with abstain: riskier than the policy allows.",
            ("model",),
            **this,
        )
        self.logged = Counter(
            "acclimate_inputs_logged",
            "Rows by what became of them in the log: stored, opted_out, dropped.",
            ("model", "outcome"),
            **this,
        )
        self.model_info = Gauge(
            "acclimate_model_info",
            "1 for each version that a live replica serves.",
            ("model", "version", "digest"),
            multiprocess_mode="livemax",
            **this,
        )
        self.swaps = Histogram(
            "acclimate_model_swap_duration_seconds",
            "From noticing a promotion to answering with it.",
            ("model",),
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30),
            **this,
        )
        self.load_failures = Counter(
            "acclimate_model_load_failures",
            "Champions that this replica could not load; it kept the old one.",
            ("model",),
            **this,
        )
        self.state_distance = Gauge(
            "acclimate_running_state_distance_ratio",
            "How far running state is from the seed: class shares moved, or shift of columns "
            "in the seed's deviations.",
            ("model",),
            multiprocess_mode="livemax",
            **this,
        )
        self.state_rows = Gauge(
            "acclimate_running_state_rows",
            "Rows that a replica has followed since it began to serve the version.",
            ("model",),
            multiprocess_mode="livemax",
            **this,
        )
        self.state_renewals = Counter(
            "acclimate_running_state_renewals",
            "Running states that began on any replica.",
            ("model",),
            **this,
        )
        self.backlog_bytes = Gauge(
            "acclimate_journal_backlog_bytes",
            "Logged rows that wait on replicas' disks for store and database.",
            multiprocess_mode="livesum",
            **this,
        )
        self.backlog_age = Gauge(
            "acclimate_journal_backlog_age_seconds",
            "Age of the oldest file that waits there, the open one included.",
            multiprocess_mode="livemax",
            **this,
        )
        self.quarantined = Counter(
            "acclimate_journal_quarantined",
            "Damaged batches and files found while recovering a journal.",
            **this,
        )

    def follow(self, model: str, distance: float, *, rows: int) -> None:
        """Tell how far this replica's running state of the model has moved, and how many rows it
        stands on.
        """
        self.state_distance.labels(model).set(distance)
        self.state_rows.labels(model).set(rows)

    def collect(self) -> Iterator[Metric]:
        """Every number of serving, without the versions that nobody serves any more."""
        source = MultiProcessCollector(None, str(self._folder)) if self._folder else self.registry
        for metric in source.collect():
            if metric.name == "acclimate_model_info":
                metric.samples = [sample for sample in metric.samples if sample.value]
            yield metric

    def text(self) -> bytes:
        """Prometheus text of `collect`."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)


def observe_all(histogram: Histogram, observed: Floats) -> None:
    """As `observe` for each value, at the price of one value a bucket.

    The library has no such verb; one call a row through a memory map would cost more than answering
    the row.
    """
    edges = histogram._upper_bounds
    buckets = np.minimum(np.searchsorted(edges, observed), len(edges) - 1)
    for index, count in enumerate(np.bincount(buckets, minlength=len(edges))):
        if count:
            histogram._buckets[index].inc(int(count))
    histogram._sum.inc(float(observed.sum()))


def serve_openly(app: FastAPI, host: str, port: int) -> None:
    """A second port that answers /metrics without a key, for a private network.

    Of several replicas on one machine the first has it, and tells the numbers of all; when it dies,
    another takes it.
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
        said = False
        while True:
            try:
                start_http_server(port, addr=host, registry=registry)
                log.info("the metrics port is open", port=port)
                return
            except OSError as error:
                if not said:
                    log.warning(
                        "the metrics port is taken; trying again", port=port, error=str(error)
                    )
                said = True
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
