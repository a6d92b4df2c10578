"""The numbers of serving, one registry a process; the numbers of learning are read from the database when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, start_http_server

from service.learning_metrics import LearningCollector, families

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class ServingMetrics:
    """What this process has served. Label values are bounded: no ids, no text of a client."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        this = {"registry": self.registry}
        self.requests = Counter(
            "acclimate_predict_requests", "Predict and infer requests by answer.", ("model", "code", "protocol"), **this
        )
        self.rows = Counter("acclimate_predict_rows", "Rows answered.", ("model", "version"), **this)
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
        self.classes = Counter("acclimate_predicted_class", "Rows by predicted class.", ("model", "class"), **this)
        self.logged = Counter(
            "acclimate_inputs_logged",
            "Rows by what became of them in the log: stored, opted_out, dropped.",
            ("model", "outcome"),
            **this,
        )
        self.model_info = Gauge(
            "acclimate_model_info",
            "1 for the version that this replica serves.",
            ("model", "version", "digest"),
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
        self.quarantined = Counter(
            "acclimate_journal_quarantined", "Damaged batches and files found while recovering a journal.", **this
        )


def serve_openly(app: FastAPI, host: str, port: int) -> None:
    """A second port that answers /metrics without a key, for a private network."""

    class Everything:
        def collect(self) -> Iterator[Metric]:
            equipment = getattr(app.state, "equipment", None)
            if equipment is not None:
                yield from equipment.metrics.registry.collect()
                yield from LearningCollector(equipment.database).collect()

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Everything())
    start_http_server(port, addr=host, registry=registry)


def names() -> frozenset[str]:
    """Every metric that a running API exports, as Prometheus names it, without _bucket, _sum and _count."""
    found = [*ServingMetrics().registry.collect(), *families().values()]
    return frozenset(f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in found)
