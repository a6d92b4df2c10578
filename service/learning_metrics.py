"""The learning metrics, read from the database at each scrape: they are the same in every replica
and survive restarts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from acclimate.storage.database import Database, Unavailable
from acclimate.storage.log import windows
from acclimate.storage.registry import models, periodic_tasks, promotions, versions
from acclimate.storage.runs import runs
from acclimate.storage.tables import ENDED
from service.control import divergence
from service.release import RELEASE

if TYPE_CHECKING:
    from sqlalchemy import Connection

TRIGGERS = ("create", "operator", "schedule", "rows", "drift", "retry")
PROMOTIONS = (
    ("first", "none"),
    ("promote", "audited"),
    ("promote", "label_free"),
    ("switch", "none"),
    ("rollback", "none"),
    ("override", "none"),
)
"""The kinds of promotions with their evidence."""
DURATIONS = (1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 300.0, 1800.0)

GAUGES = {
    "drift_statistic": (
        "Statistic of each drift detector in the newest diagnosed window.",
        ("model", "detector"),
    ),
    "drift_threshold": (
        "Threshold of the statistic, above which it counts as drift.",
        ("model", "detector"),
    ),
    "drift_detected": ("1 where the statistic is above its threshold.", ("model", "detector")),
    "estimated_accuracy_ratio": (
        "Estimated accuracy in the newest closed window, without labels; absent where no estimate "
        "is possible.",
        ("model", "estimator"),
    ),
    "estimated_accuracy_ratio_lower": (
        "Lower bound of the estimated accuracy.",
        ("model", "estimator"),
    ),
    "estimated_accuracy_ratio_upper": (
        "Upper bound of the estimated accuracy.",
        ("model", "estimator"),
    ),
    "pseudo_label_class_divergence_ratio": (
        "Total variation distance between the classes of the accepted pseudo-labels and of all "
        "pseudo-labels, in the newest closed window.",
        ("model",),
    ),
    "pseudo_label_error_ratio": (
        "Share of accepted pseudo-labels that later labels contradict; absent without such labels.",
        ("model",),
    ),
    "divergence_ratio": (
        "Share of rows on which the champion and the proved version differ, in the newest window "
        "that compared versions; absent before one did.",
        ("model",),
    ),
    "calibration_error_ratio": (
        "Debiased calibration error on the judging part, overconfidence only.",
        ("model", "alias"),
    ),
    "replay_rows": (
        "Replayed trusted rows of the champion's training by class: of the seed set, and with "
        "labels.",
        ("model", "class"),
    ),
    "anchor_distance_ratio": (
        "Distance of the champion's weights from the anchor's, relative to their norm; 0 for the "
        "anchor.",
        ("model",),
    ),
    "runs_active": ("Runs that have not ended, by stage.", ("model", "stage")),
    "run_heartbeat_timestamp_seconds": (
        "Last heartbeat of the newest run, in unix seconds.",
        ("model",),
    ),
    "gate_value": ("Value of each gate for the newest judged student.", ("model", "gate")),
    "gate_limit": ("The limit of each gate.", ("model", "gate")),
    "learning_paused": ("1 while automatic learning is paused.", ("model",)),
    "periodic_task_age_seconds": (
        "Time since the periodic task was last completed; absent before.",
        ("task",),
    ),
    "queue_oldest_task_age_seconds": ("Age of the oldest queued run.", ()),
    "build_info": ("1; the version of the software.", ("version",)),
}
COUNTERS = {
    "pseudo_labels": (
        "Rows by outcome of the pseudo-label selection: accepted, or the reason for refusal.",
        ("model", "outcome"),
    ),
    "runs": ("Ended runs.", ("model", "trigger", "state")),
    "promotions": ("Changes of champion.", ("model", "kind", "evidence")),
}
"""Help text and labels of each metric."""


def text(database: Database) -> bytes:
    """Prometheus text of the learning metrics; empty while the database does not answer."""
    metrics = CollectorRegistry(auto_describe=False)
    metrics.register(LearningCollector(database))
    try:
        return generate_latest(metrics)
    except Unavailable:
        return b""


class LearningCollector:
    """Collects the metrics in one transaction at each scrape."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> list[Metric]:
        """The metrics without values."""
        return list(families().values())

    def collect(self) -> Iterator[Metric]:
        """The metrics. Raises `Unavailable`."""
        found = families()
        with self._database.read() as connection:
            found["build_info"].add_metric((RELEASE,), 1)
            found["queue_oldest_task_age_seconds"].add_metric(
                (), runs.oldest_waiting_seconds(connection)
            )
            for task, seconds in periodic_tasks.ages(connection).items():
                if seconds is not None:
                    found["periodic_task_age_seconds"].add_metric((task,), seconds)
            for model in models.list_all(connection):
                _runs(
                    found, model["name"], runs.page(connection, model_id=model["id"], size=100_000)
                )
                _windows(found, model["name"], windows.list_all(connection, model["id"]))
                _versions(found, connection, model)
                _divergence(found, connection, model)
                found["learning_paused"].add_metric(
                    (model["name"],), float(model["learning"] == "paused")
                )
        yield from found.values()


def families() -> dict[str, Any]:
    """Every learning metric without values, by its name without prefix."""
    found: dict[str, Any] = {
        name: GaugeMetricFamily(f"acclimate_{name}", help, labels=labels)
        for name, (help, labels) in GAUGES.items()
    }
    found |= {
        name: CounterMetricFamily(f"acclimate_{name}", help, labels=labels)
        for name, (help, labels) in COUNTERS.items()
    }
    found["run_duration_seconds"] = HistogramMetricFamily(
        "acclimate_run_duration_seconds", "From start to end of a run.", labels=("model",)
    )
    return found


def _runs(found: dict[str, Any], model: str, rows: list[Any]) -> None:
    """Add the metrics of a model's runs, newest first."""
    ended = [row for row in rows if row["ended_at"] is not None]
    counts = Counter((row["trigger"], row["state"]) for row in ended)
    # Zeros are exported too, here and for promotions: an alert on an increase would otherwise miss
    # the first failure.
    for trigger, state in product(TRIGGERS, ENDED):
        found["runs"].add_metric((model, trigger, state), counts[trigger, state])
    for stage, count in Counter(row["stage"] for row in rows if row["ended_at"] is None).items():
        found["runs_active"].add_metric((model, stage), count)
    heartbeats = [row["heartbeat_at"] for row in rows if row["heartbeat_at"] is not None]
    if heartbeats:
        found["run_heartbeat_timestamp_seconds"].add_metric((model,), max(heartbeats))
    outcomes: Counter[str] = Counter()
    for row in rows:
        outcomes["accepted"] += row["rows_pseudo_labelled"] or 0
        outcomes.update(row["refused"] or {})
    for outcome, count in outcomes.items():
        found["pseudo_labels"].add_metric((model, outcome), count)
    kept = [
        row for row in rows if row["pseudo_labels"] is not None and row["pseudo_labels_checked"]
    ]
    if kept:
        wrong = sum(row["pseudo_labels_wrong"] for row in kept) / sum(
            row["pseudo_labels_checked"] for row in kept
        )
        found["pseudo_label_error_ratio"].add_metric((model,), wrong)
    took = [row["ended_at"] - row["started_at"] for row in ended if row["started_at"] is not None]
    buckets = [(str(edge), float(sum(seconds <= edge for seconds in took))) for edge in DURATIONS]
    found["run_duration_seconds"].add_metric(
        (model,), buckets=[*buckets, ("+Inf", float(len(took)))], sum_value=sum(took)
    )
    judged = next((row for row in rows if row["gates"]), None)
    for gate in judged["gates"] if judged else ():
        if gate["value"] is not None:
            found["gate_value"].add_metric((model, gate["gate"]), gate["value"])
        if gate["limit"] is not None:
            found["gate_limit"].add_metric((model, gate["gate"]), gate["limit"])


def _windows(found: dict[str, Any], model: str, rows: list[Any]) -> None:
    diagnosed = [row for row in rows if row["drift"]]
    for detector, effect in diagnosed[-1]["drift"]["effects"].items() if diagnosed else ():
        found["drift_statistic"].add_metric((model, detector), effect["value"])
        found["drift_threshold"].add_metric((model, detector), effect["threshold"])
        found["drift_detected"].add_metric(
            (model, detector), float(effect["value"] > effect["threshold"])
        )
    newest = next((row["estimate"] for row in reversed(rows) if row["estimate"]), None)
    if newest is None:
        return
    if newest["value"] is not None:
        labels = (model, newest["estimator"])
        for name, key in (("", "value"), ("_lower", "lower"), ("_upper", "upper")):
            found[f"estimated_accuracy_ratio{name}"].add_metric(labels, newest[key])
    for other in newest.get("others", []):
        found["estimated_accuracy_ratio"].add_metric((model, other["estimator"]), other["value"])
    if newest["pseudo_label_divergence"] is not None:
        found["pseudo_label_class_divergence_ratio"].add_metric(
            (model,), newest["pseudo_label_divergence"]
        )


def _versions(found: dict[str, Any], connection: Connection, model: Any) -> None:
    history = promotions.list_all(connection, model["id"])
    counts = Counter((row["kind"], row["evidence"] or "none") for row in history)
    for kind, evidence in sorted({*PROMOTIONS, *counts}):
        found["promotions"].add_metric((model["name"], kind, evidence), counts[kind, evidence])
    if not history:
        return
    for alias, number in (
        ("champion", history[-1]["to_version"]),
        ("previous", history[-1]["from_version"]),
        ("anchor", 1),
    ):
        row = versions.get(connection, model["id"], number) if number else None
        if alias == "champion" and row is not None and row["lineage"] is not None:
            _lineage(found, model["name"], row["lineage"])
        for gate in row["gates"] if row is not None else ():
            if gate["gate"] == "max_ece" and gate["value"] is not None:
                found["calibration_error_ratio"].add_metric((model["name"], alias), gate["value"])


def _divergence(found: dict[str, Any], connection: Connection, model: Any) -> None:
    named = promotions.aliases(connection, model["id"])
    known = divergence.of_model(connection, model["id"], named)
    if known is not None:
        found["divergence_ratio"].add_metric((model["name"],), known["value"])


def _lineage(found: dict[str, Any], model: str, known: dict[str, Any]) -> None:
    found["anchor_distance_ratio"].add_metric((model,), known["anchor_distance"])
    for label, rows in known["replay_rows"].items():
        found["replay_rows"].add_metric((model, label), rows)
