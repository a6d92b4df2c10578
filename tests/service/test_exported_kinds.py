"""Rows of every kind as lines of the export: numbers as nested lists, text as strings."""

from __future__ import annotations

import json

import numpy as np
import orjson
import pytest

from acclimate.storage.log.journal import Journal
from acclimate.storage.log.logged_rows import JournalSchema, LoggedRows, RequestRows
from acclimate.storage.log.segments import Segments
from acclimate.storage.store import Store
from service.control.rows import line_of

TEXTS = np.array([["Grüße, 世界\n\u2028"], ["NaN"], [""]], dtype=object)


@pytest.mark.parametrize(
    ("kind", "x", "exported"),
    [
        (
            "vector",
            np.array([[0.1, 1e30], [3, 4], [-0.0, 6]], np.float32),
            [[0.1, 1e30], [3, 4], [-0.0, 6]],
        ),
        (
            "image",
            np.arange(24, dtype=np.float32).reshape(3, 2, 2, 2),
            np.arange(24).reshape(3, 2, 2, 2).tolist(),
        ),
        ("sequence", np.array([[2**53 + 1, 0], [1, 2], [0, 0]]), [[2**53 + 1, 0], [1, 2], [0, 0]]),
        ("text", TEXTS, ["Grüße, 世界\n\u2028", "NaN", ""]),
    ],
)
def test_a_row_of_each_kind_is_a_line_of_json(tmp_path, kind, x, exported):
    schema = JournalSchema(kind=kind, shape=x.shape[1:], classes=2, model="m", replica="api-0")
    journal = Journal.open(tmp_path / "journal", schema, 1_800_000_000.0)
    probabilities = np.array([[0.25, 0.75]] * 3, np.float32)
    journal.append(
        LoggedRows.of_request(
            RequestRows(
                prediction_id="p",
                version="1",
                logged_at=1_800_000_000.0,
                client="k",
                x=x,
                probabilities=probabilities,
            )
        )
    )
    sealed = journal.seal()
    assert sealed is not None
    segments = Segments(Store(f"file://{tmp_path}/store", tmp_path / "cache"))
    rows = segments.take(segments.put(sealed, "m"), sealed.digest, range(0, 3))
    for place in range(3):
        line = line_of(rows, place, "w-1", {"input", "prediction"}, ["no", "yes"])
        text = orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY)
        found = json.loads(text)
        # The stored float32 comes back exactly; its text is the shortest one that says it.
        assert found["input"] == exported[place] and text.count(b"\n") == 0
        assert (found["row"], found["label"], found["class"], found["confidence"]) == (
            place,
            "yes",
            1,
            0.75,
        )
        assert found["probabilities"] == [0.25, 0.75]
