"""The serving metrics: counted per request, in preallocated files or in memory."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from acclimate.settings import Settings
from service.metrics import FILE_BYTES, KINDS, SHARES, ServingMetrics, count_in_files, observe_all

COUNTING = """
import sys
from pathlib import Path
from acclimate.settings import Settings
from service.metrics import ServingMetrics, count_in_files
metrics = ServingMetrics(count_in_files(Settings(home=Path(sys.argv[1]), replica="api_0")))
metrics.rows.labels("m", "1").inc(3)
for version, serves in (("1", 1), ("2", 1), ("1", 0)):
    metrics.model_info.labels("m", version, "d").set(serves)
sys.stdout.buffer.write(metrics.text())
"""


def samples(text: str) -> dict[tuple[str, str], float]:
    """Values by (name, version or empty)."""
    return {
        (sample.name, sample.labels.get("version", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_many_values_are_observed_as_one_after_another_would_be():
    at_once, singly = ServingMetrics(), ServingMetrics()
    rng = np.random.default_rng(0)
    observed = np.concatenate([rng.random(500), SHARES, [0.0]]).astype(np.float32)
    observe_all(at_once.confidence.labels("m"), observed)
    for value in observed:
        singly.confidence.labels("m").observe(float(value))

    def told(metrics: ServingMetrics) -> dict[str, Any]:
        found = next(iter(metrics.confidence.collect())).samples
        return {
            sample.name + sample.labels.get("le", ""): sample.value
            for sample in found
            if "created" not in sample.name
        }

    exact, sums = told(singly), "acclimate_prediction_confidence_ratio_sum"
    given = told(at_once)
    assert abs(given.pop(sums) - exact.pop(sums)) < 1e-3
    assert given == exact


def test_a_replica_alone_counts_anew_in_preallocated_files(tmp_path):
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", COUNTING, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        )
        told = samples(done.stdout)
        assert told["acclimate_predict_rows_total", "1"] == 3
        assert ("acclimate_model_info", "1") not in told and told["acclimate_model_info", "2"] == 1
        assert "_created" not in done.stdout and "pid=" not in done.stdout
    files = list((tmp_path / "metrics/api_0").iterdir())
    assert {path.name for path in files} == {f"{kind}_api%5F0.db" for kind in KINDS}
    assert all(path.stat().st_blocks * 512 >= FILE_BYTES for path in files)


def test_where_the_folder_cannot_be_had_a_replica_counts_in_memory(tmp_path):
    (tmp_path / "metrics").write_text("in the way")
    folder = count_in_files(Settings(home=tmp_path))
    assert folder is None
    metrics = ServingMetrics(folder)
    metrics.rows.labels("m", "1").inc(3)
    assert samples(metrics.text().decode())["acclimate_predict_rows_total", "1"] == 3
